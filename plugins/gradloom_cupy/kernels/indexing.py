"""Kernels of the indexing ops.

CuPy wraps an index that is out of bounds, where NumPy raises: to find out would wait for the
device at every access.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import cupy
import cupyx

from gradloom.backend import Kernel, Specialised
from gradloom.spec import WHOLE

Index = tuple[Any, ...]

#: What the device adds atomically.
_ATOMIC = frozenset("iIQLfdFD")


def native_index(index: Index) -> Callable[[tuple[Any, ...]], Any]:
    """Return a function of the index arrays that gives the index in CuPy's form."""

    def fill(arrays: tuple[Any, ...]) -> Any:
        remaining = iter(arrays)
        return tuple([_entry(entry, remaining) for entry in index])

    return fill


def _entry(entry: Any, arrays: Any) -> Any:
    if entry == "array":
        return next(arrays)
    if entry == "...":
        return Ellipsis
    if entry == WHOLE:
        return slice(None)
    if type(entry) is not tuple:
        return entry
    if entry[0] == "mask":
        return cupy.asarray(entry[1])
    _, start, stop, step = entry
    # A stop of -1 means "up to and including the first", which is written as None.
    return slice(start, None if stop < 0 else stop, step)


def getitem(*, index: Index) -> Kernel:
    """Return the kernel that reads a fixed part of an array."""
    return operator.itemgetter(native_index(index)(()))


def gather(*, index: Index, unique: bool) -> Kernel:
    """Return the kernel that reads at integer arrays."""
    fill = native_index(index)

    def kernel(x: Any, *arrays: Any) -> Any:
        part = x[fill(arrays)]
        return part if any(a.ndim for a in arrays) else part.copy()

    return kernel


def index_add(*, index: Index, unique: bool) -> Kernel:
    """Return the kernel that adds values to a part of an array."""
    fill = native_index(index)

    def kernel(x: Any, v: Any, *arrays: Any, donate: bool = False) -> Any:
        out = x if donate else cupy.array(x, order="C")
        where = fill(arrays)
        if unique or not any(a.ndim for a in arrays):
            out[where] += v
        elif out.dtype.char in _ATOMIC:
            cupyx.scatter_add(out, where, v)
        else:
            # Small integers are added in a type that the device adds atomically.
            wide = out.astype("Q")
            cupyx.scatter_add(wide, where, v.astype("Q"))
            out[...] = wide.astype(out.dtype)
        return out

    return kernel


def index_set(*, index: Index, unique: bool) -> Kernel:
    """Return the kernel that replaces a part of an array."""
    fill = native_index(index)

    def kernel(x: Any, v: Any, *arrays: Any, donate: bool = False) -> Any:
        out = x if donate else cupy.array(x, order="C")
        out[fill(arrays)] = v
        return out

    return kernel


KERNELS: dict[str, Kernel | Specialised] = {
    "getitem": Specialised(getitem),
    "gather": Specialised(gather),
    "index_add": Specialised(index_add),
    "index_set": Specialised(index_set),
}
