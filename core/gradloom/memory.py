"""Memory: arrays whose memory is used again when they are gone.

Fresh memory is slow: the system hands it out page by page, and each first touch of a page costs
about as much as computing its values. What a kernel returned and nobody holds any more serves
the next call.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, final

import numpy as np

from gradloom.locks import new_lock

if TYPE_CHECKING:
    from mmap import mmap

#: Bytes of the smallest array that is kept; sizes are rounded up to multiples of it.
LEAST: Final = 256 * 1024
#: Bytes of a huge page: a block of whole ones begins with one on Linux, and is handed out in a few pieces, where the
#: ends of others take hundreds. Sizes are rounded up to it where that adds an eighth at most.
HUGE: Final = 2 * 1024 * 1024
#: Bytes of all blocks together, at most; what is asked for beyond is plain memory.
MOST: Final = 256 * 1024 * 1024
#: Bytes of a cache line.
LINE: Final = 64


def _block_size(nbytes: int) -> int:
    """Return the bytes of the block for an array."""
    huge = rounded_up(nbytes, HUGE)
    return huge if huge - nbytes <= nbytes // 8 else rounded_up(nbytes, LEAST)


def rounded_up(size: int, unit: int) -> int:
    """Return a number of bytes, rounded up to whole units."""
    return -(-size // unit) * unit


def whole_lines(size: int) -> int:
    """Return a number of bytes, rounded up to whole cache lines."""
    return rounded_up(size, LINE)


@lru_cache(maxsize=1024)
def _kind(size: int) -> Any:
    return ctypes.c_char * size


def _new_block(size: int) -> mmap:
    """Return fresh memory."""
    # Loading its library waits for a compiler's, which another thread loads while large arrays are not yet needed.
    import mmap

    # Private: a child of a fork must not write into its parent's arrays.
    private: Any = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
    block = mmap.mmap(-1, size, **private)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without huge pages
            block.madvise(mmap.MADV_HUGEPAGE)
    return block


@final
class _Loan:
    """A block of memory, and the object through which the arrays on it refer to it."""

    __slots__ = ("block", "owner", "size")

    def __init__(self, block: mmap, size: int) -> None:
        self.block = block
        self.size = size
        self.owner: weakref.ref[Any] | None = None

    @property
    def is_free(self) -> bool:
        """Whether nothing refers to the memory."""
        return self.owner is None or self.owner() is None


@final
class _Pool:
    """Blocks of memory, those last that were given out last.

    Whether a block is free is looked up when one is wanted. A callback when the last array ends
    would be simpler, but an interrupt that arrives while it runs would be lost.
    """

    def __init__(self) -> None:
        self._lock = new_lock()
        self.loans: list[_Loan] = []
        self.bytes = 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any], nbytes: int) -> np.ndarray[Any, Any]:
        """Return an array on a block; a plain one where all blocks together would be too large."""
        size = _block_size(nbytes)
        with self._lock:
            loan = self._free(size) or self._new(size)
            if loan is None:
                return np.empty(shape, dtype)
            # Every array and view on it refers to this object.
            owner = _kind(loan.size).from_buffer(loan.block)
            loan.owner = weakref.ref(owner)
        return np.ndarray(shape, dtype, owner)

    def _free(self, size: int) -> _Loan | None:
        """Return a free block of some size, or up to twice that: the one used last, which the cache may hold."""
        loans = self.loans
        for n in range(len(loans) - 1, -1, -1):
            if size <= loans[n].size <= 2 * size and loans[n].is_free:
                loans.append(loans.pop(n))
                return loans[-1]
        return None

    def _new(self, size: int) -> _Loan | None:
        if self.bytes + size > MOST:
            self._drop_free()
            if self.bytes + size > MOST:
                return None
        self.loans.append(_Loan(_new_block(size), size))
        self.bytes += size
        return self.loans[-1]

    def _drop_free(self) -> None:
        """Give all free blocks back to the system: room for the sizes in use now."""
        self.loans = [loan for loan in self.loans if not loan.is_free]
        self.bytes = sum([loan.size for loan in self.loans])


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


def ordered_copy(array: Any, dtype: np.dtype[Any] | None = None) -> np.ndarray[Any, Any]:
    """Return a C-contiguous copy of an array or scalar, on memory used before where it is large."""
    out = empty(array.shape, array.dtype if dtype is None else dtype)
    out[...] = array
    return out
