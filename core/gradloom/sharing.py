"""Sharing: one kernel's work, spread over the cores of this process.

Ranges of work are cut by size alone and each writes results of its own, so which thread takes
which changes no bits.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar, copy_context
from functools import cache
from typing import TYPE_CHECKING, final

if TYPE_CHECKING:
    from concurrent.futures import ThreadPoolExecutor

#: How many threads one kernel may take; all cores by default. Executors that run several kernels
#: at once set it, as they do for BLAS.
kernel_threads: ContextVar[int | None] = ContextVar("gradloom_kernel_threads", default=None)


@final
class _Pool:
    """The threads of this process; a child of a fork makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None

    def get(self) -> ThreadPoolExecutor:
        """Return the threads, started at first use."""
        with self._lock:
            if self._executor is None:
                # Imported here, because few need it and it takes milliseconds.
                from concurrent.futures import ThreadPoolExecutor

                self._executor = ThreadPoolExecutor(cores(), "gradloom-kernel")
            return self._executor

    def after_fork(self) -> None:
        """Forget threads that the child has not got."""
        self._lock = threading.Lock()
        self._executor = None


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.after_fork)


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

    pool = _pool.get()
    helpers = [pool.submit(copy_context().run, take) for _ in range(threads - 1)]
    try:
        take()
    finally:
        for helper in helpers:
            # One that has not begun, because all threads are busy, is not waited for.
            if not helper.cancel():
                helper.result()


def hand_out(work: Callable[[], object]) -> bool:
    """Let another thread call ``work()`` soon, and return whether one does: not where one is all that is allowed."""
    if allowed() < 2:
        return False
    _pool.get().submit(copy_context().run, work)
    return True


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
