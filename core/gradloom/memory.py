"""Memory: arrays whose memory is used again when they are gone.

Fresh memory is slow: the system hands it out page by page, and each first touch of a page costs
about as much as computing its values. What a kernel returned and nobody holds any more serves
the next call.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import threading
import weakref
from collections import deque
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final, final

import numpy as np

#: Bytes of the smallest array that is kept; sizes are rounded up to multiples of it.
LEAST: Final = 256 * 1024
#: Bytes of unused memory that is kept, at most.
MOST_IDLE: Final = 256 * 1024 * 1024

Block = mmap.mmap
_PRIVATE: Final[Any] = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


@lru_cache(maxsize=1024)
def _kind(size: int) -> Any:
    return ctypes.c_char * size


@final
class _Pool:
    """Blocks of memory that no array uses, by size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: dict[int, list[Block]] = {}
        self._idle_bytes = 0
        # Arrays end anywhere, in the collector too, where no lock may be taken.
        self._returned: deque[tuple[int, Block]] = deque()
        self._loans: dict[int, tuple[weakref.ref[Any], int, Block]] = {}

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any], nbytes: int) -> np.ndarray[Any, Any]:
        """Return an array on a block; the block comes back when nothing refers to its memory."""
        size = -(-nbytes // LEAST) * LEAST
        block = self._take(size)
        # Every array and view on it refers to this object, which can tell when it ends.
        owner = _kind(size).from_buffer(block)
        key = id(owner)
        self._loans[key] = (weakref.ref(owner, lambda _: self._give_back(key)), size, block)
        return np.ndarray(shape, dtype, owner)

    def _take(self, size: int) -> Block:
        with self._lock:
            while self._returned:
                length, block = self._returned.popleft()
                self._idle.setdefault(length, []).append(block)
            found = self._idle.get(size)
            if found:
                self._idle_bytes -= size
                return found.pop()
        # Private: a child of a fork must not write into its parent's arrays.
        block = mmap.mmap(-1, size, **_PRIVATE)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a system without huge pages
                block.madvise(mmap.MADV_HUGEPAGE)
        return block

    def _give_back(self, key: int) -> None:
        _, size, block = self._loans.pop(key)
        if self._idle_bytes + size <= MOST_IDLE:
            self._idle_bytes += size
            self._returned.append((size, block))
        elif size <= MOST_IDLE:
            # Room for what is in use now, rather than for sizes that were.
            self._returned.clear()
            self._idle = {}
            self._idle_bytes = size
            self._returned.append((size, block))


_pool = _Pool()


def empty(shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """Return an uninitialised C-contiguous array, on memory used before where it is large.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy.dtype

    Returns
    -------
    ndarray
        It shares memory with no other that anything refers to, and starts on a page if it is large.
    """
    nbytes = math.prod(shape) * dtype.itemsize
    return np.empty(shape, dtype) if nbytes < LEAST else _pool.array(shape, dtype, nbytes)
