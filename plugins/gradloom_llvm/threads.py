"""Threads: the chunks of a kernel, spread over the cores of this process."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from gradloom.memory import empty
from gradloom.sharing import allowed, share

#: Each thread takes this many ranges of chunks, one after the other, so that none waits long for another.
_RANGES = 4

_BYTE = np.dtype(np.uint8)
_SIGNATURE = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 4)


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
    workspace = empty((workspaces[0],), _BYTE)
    addresses = pointers.ctypes.data, numbers.ctypes.data, workspace.ctypes.data
    for t, over_rows in enumerate(phases):
        count = min(chunks, allowed() * _RANGES) if over_rows else 1

        def work(k: int, t: int = t, count: int = count) -> None:
            block = empty((workspaces[1],), _BYTE)
            kernel(*addresses, block.ctypes.data, t, t, chunks * k // count, chunks * (k + 1) // count)

        share(count, work)
