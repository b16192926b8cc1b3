"""Ahead: work that nobody waits for yet, done by a thread beside the user's, a little at a time.

One thread at a time runs Python. So who works ahead pauses after each piece: the user's threads lose a small part of
their time for a while, and none of them waits long for its turn.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import final

from gradloom.locks import new_lock

__all__ = ["add", "is_here", "pacemaker", "wait"]

#: Seconds that a piece takes, and those of the pause after it.
PIECE, PAUSE = 0.5e-3, 2e-3


class _ProcessEnds(BaseException):
    """Raised where all work is dropped, as nobody will need it."""


class _NotNeeded(BaseException):
    """Raised where a piece of work is dropped, as somebody has done it meanwhile."""


def _always() -> bool:
    return True


@final
class _Worker:
    """The thread that works ahead, which lives as long as there is work; a child of a fork has none of it."""

    def __init__(self) -> None:
        self._lock = new_lock()
        #: What to do, and whether it is still needed.
        self._waiting: deque[tuple[Callable[[], object], Callable[[], bool]]] = deque()
        self._needed: Callable[[], bool] = _always
        self._thread: threading.Thread | None = None
        #: When the piece began that it is at.
        self._since = 0.0

    def add(self, work: Callable[[], object], needed: Callable[[], bool] = _always) -> None:
        """Let the thread call ``work()``, and drop it when ``needed()`` is not so any more."""
        with self._lock:
            self._waiting.append((work, needed))
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gradloom-ahead")
                try:
                    self._thread.start()
                except RuntimeError:  # at the end of a process there are no new threads
                    self._drop()

    def _drop(self) -> None:
        with self._lock:
            self._waiting.clear()
            self._thread = None

    def _work(self) -> None:
        self._since = time.perf_counter()
        try:
            while True:
                with self._lock:
                    if not self._waiting:
                        self._thread = None
                        return
                    work, self._needed = self._waiting.popleft()
                # Who needs the result finds it on his own, and raises what there is to raise.
                with suppress(Exception, _NotNeeded):
                    work()
                del work
                self._needed = _always
                self.pause()
        except _ProcessEnds:
            self._drop()

    def pause(self) -> None:
        """Let other threads have their turn, at the end of a piece."""
        if not self._needed():
            raise _NotNeeded
        if time.perf_counter() - self._since >= PIECE:
            time.sleep(PAUSE)
            if not threading.main_thread().is_alive():
                raise _ProcessEnds
            self._since = time.perf_counter()

    def is_here(self) -> bool:
        """Return whether the calling thread is the one that works ahead."""
        return self._thread is threading.current_thread()

    def wait(self) -> None:
        """Wait until there is no work."""
        thread = self._thread
        if thread is not None:
            thread.join()


_worker = _Worker()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_worker.__init__)
add = _worker.add
is_here = _worker.is_here
wait = _worker.wait


def pacemaker() -> Callable[[], None] | None:
    """Return what work done ahead calls now and then, so that others have their turn; None in any other thread."""
    return _worker.pause if is_here() else None
