"""Indexing kernels: the standard's indices are few, so all go through flat positions."""

from __future__ import annotations

import math
from typing import Any

import array_api_strict as xp

from gradloom_strict.arrays import arange


def positions(shape: tuple[int, ...], index: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    """Return the flat position in an array of each element that an index selects.

    The index is in the form of the attr ``index`` of gradloom's indexing ops: an int, a slice,
    a new axis, an index array or a boolean for each place.
    """
    remaining = list(arrays)
    others: list[tuple[int, Any]] = []  # length of each axis from a slice or new axis, and its positions
    joint: Any = arange(1)[0]
    advanced: list[int] = []
    split = axis = 0
    for place, entry in enumerate(index):
        stride = math.prod(shape[axis + 1 :])
        if entry is None:
            others.append((1, arange(1)))
        elif entry == "...":
            continue
        elif entry == ":" or (type(entry) is tuple and entry[0] == "slice"):
            bounds = (0, shape[axis], 1) if entry == ":" else entry[1:]
            found = arange(*bounds) * stride
            others.append((found.shape[0], found))
            axis += 1
        else:
            split = split if advanced else len(others)
            advanced.append(place)
            if type(entry) is tuple:  # a boolean takes no axis; it keeps all, or nothing
                joint = joint + arange(int(entry[1]))
                continue
            where = xp.astype(remaining.pop(0), xp.int64) if entry == "array" else arange(entry, entry + 1)[0]
            joint = joint + xp.where(where < 0, where + shape[axis], where) * stride
            axis += 1
    if joint.ndim and advanced[-1] - advanced[0] >= len(advanced):
        split = 0  # something stands between the arrays: their axes come first
    total = xp.reshape(joint, (1,) * split + joint.shape + (1,) * (len(others) - split))
    for k, (length, found) in enumerate(others):
        place = k if k < split else k + joint.ndim
        lengths = [1] * total.ndim
        lengths[place] = length
        total = total + xp.reshape(found, tuple(lengths))
    return total


def gather(x: Any, *arrays: Any, index: Any, unique: bool = False) -> Any:
    where = positions(x.shape, index, arrays)
    return xp.reshape(xp.take(xp.reshape(x, (-1,)), xp.reshape(where, (-1,))), where.shape)


def changed(x: Any, v: Any, arrays: Any, index: Any, add: bool) -> Any:
    return at_places(x, v, positions(x.shape, index, arrays), add)


def at_places(x: Any, v: Any, where: Any, add: bool) -> Any:
    flat = xp.reshape(xp.asarray(x, copy=True), (-1,))
    values = xp.reshape(xp.broadcast_to(v, where.shape), (-1,))
    places = xp.reshape(where, (-1,))
    for k in range(places.shape[0]):
        place = int(places[k])
        flat[place] = flat[place] + values[k] if add else values[k]
    return xp.reshape(flat, x.shape)


def index_add(x: Any, v: Any, *arrays: Any, index: Any, unique: bool = False, donate: bool = False) -> Any:
    return changed(x, v, arrays, index, add=True)


def index_set(x: Any, v: Any, *arrays: Any, index: Any, unique: bool = False, donate: bool = False) -> Any:
    return changed(x, v, arrays, index, add=False)


def along(shape: tuple[int, ...], indices: Any, axis: int) -> Any:
    """Return the flat position in an array of each element that its rows are taken at."""
    total = xp.where(indices < 0, indices + shape[axis], indices) * math.prod(shape[axis + 1 :])
    for k, n in enumerate(shape):
        if k != axis:
            lengths = tuple([n if j == k else 1 for j in range(len(shape))])
            total = total + xp.reshape(arange(n) * math.prod(shape[k + 1 :]), lengths)
    return total


def take_along_axis(x: Any, indices: Any, *, axis: Any, unique: bool = False) -> Any:
    where = along(x.shape, indices, axis)
    return xp.reshape(xp.take(xp.reshape(x, (-1,)), xp.reshape(where, (-1,))), where.shape)


def add_along_axis(x: Any, v: Any, indices: Any, *, axis: Any, unique: bool = False, donate: bool = False) -> Any:
    return at_places(x, v, along(x.shape, indices, axis), add=True)


KERNELS: dict[str, Any] = {
    "getitem": gather,
    "gather": gather,
    "index_add": index_add,
    "index_set": index_set,
    "take_along_axis": take_along_axis,
    "add_along_axis": add_along_axis,
}
