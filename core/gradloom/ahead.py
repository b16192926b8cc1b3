"""Ahead: work that nobody waits for yet, done by a thread beside the user's, a little at a time.

One thread at a time runs Python. So who works ahead lets go after each piece, and pauses where others want to run: the
user's threads lose a small part of their time for a while, and none of them waits long for its turn.
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

__all__ = ["Work", "add", "finish", "is_here", "pacemaker", "wait"]

#: Seconds that a piece takes, of a look whether others want to run, and of the pause if they do.
PIECE, LOOK, PAUSE = 0.5e-3, 0.1e-3, 2e-3
#: Seconds that others wait for a piece of work, at most.
LIMIT = 1.0


class _ProcessEnds(BaseException):
    """Raised where all work is dropped, as nobody will need it."""


@final
class Work:
    """What is to be done ahead: a function without arguments."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do = do
        self.done = threading.Event()


@final
class _Worker:
    """The thread that works ahead, which lives as long as there is work; a child of a fork has none of it."""

    def __init__(self) -> None:
        self._lock = new_lock()
        self._waiting: deque[Work] = deque()
        #: What it is at, and whether somebody waits for that.
        self._current: Work | None = None
        self._urgent = False
        self._thread: threading.Thread | None = None
        #: When the piece began that it is at.
        self._since = 0.0

    def add(self, do: Callable[[], object]) -> Work:
        """Let the thread call ``do()``."""
        work = Work(do)
        with self._lock:
            self._waiting.append(work)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gradloom-ahead")
                try:
                    self._thread.start()
                except RuntimeError:  # at the end of a process there are no new threads
                    self._drop()
        return work

    def finish(self, work: Work) -> bool:
        """Return whether some work has been done, and wait while the thread is at it; it is not begun any more."""
        with self._lock:
            if work in self._waiting:
                self._waiting.remove(work)
            if work is not self._current:  # nor is that of a parent process
                return work.done.is_set()
            self._urgent = True
        return work.done.wait(LIMIT)

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
                    work = self._current = self._waiting.popleft()
                # Who needs the result finds it on his own, and raises what there is to raise.
                with suppress(Exception):
                    work.do()
                with self._lock:
                    self._current, self._urgent = None, False
                work.done.set()
                del work
                self.pause()
        except _ProcessEnds:
            self._drop()

    def pause(self) -> None:
        """Let other threads have their turn, at the end of a piece."""
        now = time.perf_counter()
        if now - self._since >= PIECE and not self._urgent:
            time.sleep(LOOK)
            if time.perf_counter() - now >= 4 * LOOK:  # others had their turn meanwhile, or the cores are busy
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
finish = _worker.finish
is_here = _worker.is_here
wait = _worker.wait


def pacemaker() -> Callable[[], None] | None:
    """Return what work done ahead calls now and then, so that others have their turn; None in any other thread."""
    return _worker.pause if is_here() else None
