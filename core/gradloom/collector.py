"""Collector: Python's garbage collector rests while large graphs are transformed.

A graph of tens of thousands of nodes is tuples in tuples, all of which stay. Each time that there are a few hundred
more, the collector looks through the young ones, and now and then through all: up to a third of the time of a
transform, for nothing. What is dropped meanwhile is freed as always, but for cycles, which wait.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["resting_collector"]


@contextmanager
def resting_collector() -> Iterator[None]:
    """Let the collector rest while this lasts, unless it is off already; who has stopped it starts it again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
