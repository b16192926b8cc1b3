"""Collector: Python's garbage collector rests while large graphs are transformed.

A graph of tens of thousands of nodes is tuples in tuples, all of which stay. Each time that there are a few hundred
more, the collector looks through the young ones, and now and then through all: up to a third of the time of a
transform, for nothing. What is dropped meanwhile is freed as always, but for cycles, which wait.

The first such rest of a process leaves tens of thousands of young objects, imported modules among them, that stay as
long as the process. They are put among the old ones as they are: to look through them takes longer than a small run.
"""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, final

#: Young objects from which on a rest's end puts them among the old ones, once.
MANY: Final = 5_000
#: Frozen objects up to which they are Python's own, as 3.12 has; who freezes, freezes thousands, even of a bare Python.
FEW: Final = 1_000


@final
class _Rest:
    """Which thread has stopped the collector."""

    thread: int | None = None
    #: Whether young objects have been put among the old ones: often would keep the collector from looking at those.
    settled = False

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
            if not self.settled and gc.get_count()[0] > MANY:
                self._settle()
        finally:
            self.thread = None
            gc.enable()

    def _settle(self) -> None:
        """Put young objects among the old ones, without a look at any."""
        self.settled = True
        if gc.get_freeze_count() <= FEW:  # what the user has frozen stays so
            gc.freeze()
            gc.unfreeze()

    def after_fork(self) -> None:
        """Start the collector for a thread that a forked process has not got."""
        if self.thread not in (None, threading.get_ident()):
            self.thread = None
            gc.enable()


_REST = _Rest()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_REST.after_fork)
resting_collector = _REST.lasting
