"""Collector: Python's garbage collector rests while large graphs are transformed.

A graph of tens of thousands of nodes is tuples in tuples, all of which stay. Each time that there are a few hundred
more, the collector looks through the young ones, and now and then through all: up to a third of the time of a
transform, for nothing. What is dropped meanwhile is freed as always, but for cycles, which wait.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import final


@final
class _Rest:
    """Which thread has stopped the collector."""

    thread: int | None = None

    @contextmanager
    def lasting(self) -> Iterator[None]:
        """Let the collector rest, unless it is off already; who has stopped it starts it again."""
        if not gc.isenabled():
            yield
            return
        self.thread = threading.get_ident()
        try:
            gc.disable()  # in here, as an interrupt may come right after it
            yield
        finally:
            self.thread = None
            gc.enable()

    def after_fork(self) -> None:
        """Start the collector for a thread that a forked process has not got."""
        if self.thread not in (None, threading.get_ident()):
            self.thread = None
            gc.enable()


_REST = _Rest()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REST.after_fork)
resting_collector = _REST.lasting
