"""Kernels of the indexing ops."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.memory import empty, ordered_copy
from gradloom.spec import WHOLE

Index = tuple[Any, ...]


def numpy_index(index: Index) -> Callable[[tuple[Any, ...]], Any]:
    """Return a function of the index arrays that gives the index in NumPy's form."""
    form = tuple([_entry(entry) for entry in index])
    places = [k for k, entry in enumerate(index) if entry == "array"]
    if not places:
        return lambda arrays: form
    if len(places) == len(form):
        return lambda arrays: arrays

    def fill(arrays: tuple[Any, ...]) -> Any:
        filled = list(form)
        for k, array in zip(places, arrays, strict=True):
            filled[k] = array
        return tuple(filled)

    return fill


def _entry(entry: Any) -> Any:
    if entry == "...":
        return Ellipsis
    if entry == WHOLE:
        return slice(None)
    if type(entry) is not tuple:
        return entry
    if entry[0] == "mask":
        return entry[1]
    _, start, stop, step = entry
    # A stop of -1 means "up to and including the first", which NumPy writes as None.
    return slice(start, None if stop < 0 else stop, step)


def getitem(*, index: Index) -> Kernel:
    """Return the kernel that reads a fixed part of an array."""
    if index and type(index[0]) is int and all([entry == WHOLE for entry in index[1:]]):
        return operator.itemgetter(index[0])  # in half the time
    return operator.itemgetter(tuple(map(_entry, index)))


def gather(*, index: Index, unique: bool) -> Kernel:
    """Return the kernel that copies a part of an array."""
    if all(type(entry) is int for entry in index):
        # One element comes as a scalar, which is a copy.
        return getitem(index=index)
    fill = numpy_index(index)
    form = tuple([_entry(entry) for entry in index])
    has_mask = any(type(entry) is tuple and entry[0] == "mask" for entry in index)

    #: An array on the last of several axes: NumPy's index would leave the rows of the result apart in memory.
    rows = form[:-1] if len(form) > 1 and form[-1] == "array" and all(type(e) is slice for e in form[:-1]) else None

    def kernel(x: Any, *arrays: Any) -> Any:
        if rows is not None and x.ndim == len(form):
            whole = x[rows]
            if whole.flags.c_contiguous and _is_within(arrays[0], whole.shape[-1]):
                out = empty((*whole.shape[:-1], *arrays[0].shape), whole.dtype)
                return np.take(whole, arrays[0], -1, out, "wrap")  # which counts from the end as an index does
        part = x[fill(arrays)]
        return part if has_mask or any(np.ndim(a) for a in arrays) else part.copy()

    return kernel


def _is_within(at: Any, length: int) -> bool:
    """Return whether there are elements at some places of an axis."""
    return bool(at.size and at.dtype.kind in "iu" and -length <= at.min() and at.max() < length)


def index_add(*, index: Index, unique: bool) -> Kernel:
    """Return the kernel that adds values to a part of an array."""
    fill = numpy_index(index)
    #: Axes that are taken whole before an array on the last axis; 0 for any other index.
    last = len(index) - 1 if index[-1:] == ("array",) and all([entry == WHOLE for entry in index[:-1]]) else 0

    def kernel(x: Any, v: Any, *arrays: Any, donate: bool = False) -> Any:
        out = _writeable(x, donate)
        where = fill(arrays)
        if unique or not any(np.ndim(a) for a in arrays):
            out[where] += v
        elif v.size * 8 < out.size or not out.flags.c_contiguous:
            np.add.at(out, where, v)
        elif v.size and last == out.ndim - 1 > 0 and arrays[0].size ** 2 >= v.size:
            # The same elements of each row; a long index is worth a call a row.
            at = np.ravel(arrays[0])
            if not v.flags.c_contiguous:
                v = ordered_copy(v)
            for row, values in zip(out.reshape(-1, out.shape[-1]), v.reshape(-1, at.size), strict=True):
                np.add.at(row, at, values)
        else:
            # NumPy adds at one flat index many times faster than at several.
            flat = np.arange(out.size).reshape(out.shape)[where]
            np.add.at(out.reshape(-1), flat.reshape(-1), np.ravel(v))
        return out

    return kernel


def index_set(*, index: Index, unique: bool) -> Kernel:
    """Return the kernel that replaces a part of an array."""
    fill = numpy_index(index)

    def kernel(x: Any, v: Any, *arrays: Any, donate: bool = False) -> Any:
        out = _writeable(x, donate)
        out[fill(arrays)] = v
        return out

    return kernel


def _writeable(x: Any, donate: bool) -> Any:
    return x if donate and type(x) is np.ndarray and x.flags.writeable else ordered_copy(x)


KERNELS: dict[str, Kernel | Specialised] = {
    "getitem": Specialised(getitem),
    "gather": Specialised(gather),
    "index_add": Specialised(index_add),
    "index_set": Specialised(index_set),
}
