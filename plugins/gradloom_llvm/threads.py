"""Threads: the chunks of a kernel, spread over the cores of this process."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import final

import numpy as np

from gradloom.compiler import kernel_threads

#: Each thread takes this many ranges of chunks, one after the other, so that none waits long for another.
_RANGES = 4

_SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 4)


@final
class _Pool:
    """The threads of this process; a child of a fork makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._owner = 0

    def get(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._executor is None or self._owner != os.getpid():
                self._executor = ThreadPoolExecutor(cores(), "gradloom-kernel")
                self._owner = os.getpid()
            return self._executor


_pool = _Pool()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.__init__)


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def allowed() -> int:
    """Return how many threads a kernel may take here."""
    return min(kernel_threads.get() or cores(), cores())


def native(address: int) -> Callable[..., None]:
    """Return a kernel as a function that lets other threads run while it does."""
    return _SIGNATURE(address)


def run_chunks(
    kernel: Callable[..., None],
    pointers: np.ndarray[tuple[int], np.dtype[np.intp]],
    numbers: np.ndarray[tuple[int], np.dtype[np.int64]],
    workspaces: tuple[int, int],
    phases: list[bool],
    chunks: int,
) -> None:
    """Run all phases; those over rows (marked true) in several threads.

    Which chunk runs where changes nothing: each writes results of its own.
    """
    shared = np.empty(workspaces[0], np.uint8)
    own = np.empty(workspaces[1], np.uint8)
    addresses = pointers.ctypes.data, numbers.ctypes.data, shared.ctypes.data
    threads = min(allowed(), chunks)
    for t, over_rows in enumerate(phases):
        if not over_rows or threads == 1:
            kernel(*addresses, own.ctypes.data, t, t, 0, chunks)
            continue
        count = min(chunks, threads * _RANGES)
        ranges = iter([(chunks * k // count, chunks * (k + 1) // count) for k in range(count)])

        def work(t: int = t, ranges: Iterator[tuple[int, int]] = ranges) -> None:
            block = np.empty(workspaces[1], np.uint8)
            for lo, hi in ranges:
                kernel(*addresses, block.ctypes.data, t, t, lo, hi)

        helpers = [_pool.get().submit(work) for _ in range(threads - 1)]
        work()
        for helper in helpers:
            helper.result()
