"""Sharing: one kernel's work, spread over the cores of this process.

Ranges of work are cut by size alone and each writes results of its own, so which thread takes
which changes no bits.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import cache, partial
from typing import final

#: Pieces of work for each thread that shares it, one after the other, so that none waits long for another.
RANGES = 4
#: Seconds that a thread without work stays for more, in looks: to start one takes up to milliseconds while a library
#: is being loaded. The end of a process waits for a look.
STAY, LOOKS = 0.005, 10

#: How many threads one kernel may take; all cores by default. Executors that run several kernels
#: at once set it, as they do for BLAS.
kernel_threads: ContextVar[int | None] = ContextVar("gradloom_kernel_threads", default=None)


@final
class _Pool:
    """Threads that take work as long as there is any; a child of a fork has its own.

    The end of a process waits for them. `concurrent.futures` has such threads, but takes milliseconds to import.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._more = threading.Condition(self._lock)
        self._waiting: deque[Callable[[], object]] = deque()
        self._threads = self._idle = 0

    def take(self, work: Callable[[], object]) -> bool:
        """Let a thread call ``work()``, in this context, when one is free; return whether there is one."""
        with self._lock:
            self._waiting.append(partial(copy_context().run, work))
            if self._idle >= len(self._waiting):
                self._more.notify()
                return True
            if self._threads >= max(1, cores() - 1):  # whoever hands work out works too
                return True
            self._threads += 1
        try:
            threading.Thread(target=self._work, name="gradloom-kernel").start()
        except RuntimeError:  # at the end of a process there are no new threads
            with self._lock:
                self._threads -= 1
            return False
        return True

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                self._wait()
                self._idle -= 1
                if not self._waiting:
                    self._threads -= 1
                    return
                work = self._waiting.popleft()
            with suppress(Exception):  # whose work it is keeps what it raises
                work()

    def _wait(self) -> None:
        """Wait a while for work."""
        for _ in range(LOOKS):
            if self._waiting or not threading.main_thread().is_alive():
                break
            self._more.wait(STAY)


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.__init__)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed() -> int:
    """Return how many threads a kernel may take here."""
    wanted = kernel_threads.get()
    return cores() if wanted is None else max(1, min(wanted, cores()))


def share(count: int, work: Callable[[int], None]) -> None:
    """Call ``work(k)`` for each ``k`` below ``count``, in the threads that are allowed here.

    Each thread takes the next piece when it is done with one, the calling thread among them. An
    error ends the pieces that have not begun, and is raised when all threads are done.
    """
    threads = min(allowed(), count)
    if threads < 2:
        for k in range(count):
            work(k)
        return
    pieces = iter(range(count))  # handing out one is atomic

    def take() -> None:
        try:
            for k in pieces:
                work(k)
        except BaseException:
            for _ in pieces:
                pass
            raise

    helpers = [_Helper(take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        for helper in helpers:
            helper.end()


@final
class _Helper:
    """A call of ``take()`` in another thread."""

    def __init__(self, take: Callable[[], None]) -> None:
        self._take = take
        self._begun = threading.Lock()
        self._done = threading.Event()
        self._error: BaseException | None = None
        _pool.take(self._run)

    def _run(self) -> None:
        if not self._begun.acquire(blocking=False):
            return
        try:
            self._take()
        except BaseException as error:
            self._error = error
        self._done.set()

    def end(self) -> None:
        """Wait for it, and raise what it raised; one that has not begun, because all threads are busy, never does."""
        if self._begun.acquire(blocking=False):
            return
        self._done.wait()
        if self._error is not None:
            raise self._error


def hand_out(work: Callable[[], object]) -> bool:
    """Let another thread call ``work()`` soon, and return whether one does: not where one is all that is allowed."""
    if allowed() < 2:
        return False
    return _pool.take(work)


def keep_off_this_core(thread: int | None) -> None:
    """Let a sleeping thread wake on another core than the calling thread's, if it has any.

    Linux may wake it on the core of the thread that wakes it, where both then take turns, beside a core that is idle.
    """
    current = _current_core()
    if current is None or thread is None:
        return
    with suppress(OSError, ValueError):  # the cores of this process have changed meanwhile
        others = os.sched_getaffinity(0) - {current()}
        if others:
            os.sched_setaffinity(thread, others)


@cache
def _current_core() -> Callable[[], int] | None:
    """Return the C library's function that tells the core of the calling thread, where it can be used."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    function: Callable[[], int] | None = getattr(ctypes.CDLL(None), "sched_getcpu", None)
    return function
