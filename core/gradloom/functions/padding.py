"""Traced counterparts of NumPy's functions that repeat, roll, pad, insert and delete, written from ops."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, ShapeError, UnsupportedFunctionError
from gradloom.functions._arguments import as_array, as_tensor, as_tensor_of, axis_index, leaves, reshaped
from gradloom.ops.indexing import gather, index_set
from gradloom.ops.shape import broadcast_to, concatenate, reshape
from gradloom.spec import WHOLE, sliced
from gradloom.trace import innermost

Tensor = Any


# -- repeating and rolling -------------------------------------------------------------------


def take_positions(x: Tensor, positions: Any, axis: int, unique: bool = False) -> Tensor:
    """Return ``x`` at some positions along an axis."""
    index = [WHOLE] * x.ndim
    index[axis] = "array"
    return gather(x, positions, index=tuple(index), unique=unique)


@implements(np.repeat)
def np_repeat(a: Tensor, repeats: Any, axis: Any = None) -> Tensor:
    """Repeat each element."""
    if axis is None:
        a, axis = reshape(a, shape=(a.size,)), 0
    axis = axis_index("numpy.repeat", axis, a.ndim)
    counts = np.asarray(repeats)
    length = a.shape[axis]
    if counts.size != 1:
        return take_positions(a, np.repeat(np.arange(length), counts), axis)
    count = operator.index(counts.item())
    if count < 0:
        raise ShapeError(
            "repeats may not be negative",
            op="numpy.repeat",
            argument="repeats",
            expected="0 or more",
            got=count,
            remedy="clip the counts at 0",
        )
    wide = broadcast_to(
        reshape(a, shape=(*a.shape[: axis + 1], 1, *a.shape[axis + 1 :])),
        shape=(*a.shape[: axis + 1], count, *a.shape[axis + 1 :]),
    )
    return reshape(wide, shape=(*a.shape[:axis], length * count, *a.shape[axis + 1 :]))


@implements(np.tile)
def np_tile(A: Tensor, reps: Any) -> Tensor:
    """Repeat the whole array."""
    counts = tuple([operator.index(n) for n in reps]) if np.iterable(reps) else (operator.index(reps),)
    ndim = max(len(counts), A.ndim)
    counts = (1,) * (ndim - len(counts)) + counts
    shape = (1,) * (ndim - A.ndim) + A.shape
    paired = reshape(A, shape=tuple([n for length in shape for n in (1, length)]))
    repeated = broadcast_to(paired, shape=tuple([n for pair in zip(counts, shape, strict=True) for n in pair]))
    return reshape(repeated, shape=tuple([c * n for c, n in zip(counts, shape, strict=True)]))


@implements(np.roll)
def np_roll(a: Tensor, shift: Any, axis: Any = None) -> Tensor:
    """Shift elements along axes, around the ends."""
    if axis is None:
        return reshape(np.roll(reshape(a, shape=(a.size,)), shift, 0), shape=a.shape)
    # Unlike elsewhere, an axis may be named twice: the shifts add up.
    names = axis if isinstance(axis, (tuple, list)) else (axis,)
    axes = [axis_index("numpy.roll", k, a.ndim) for k in names]
    shifts, where = np.broadcast_arrays(np.asarray(shift, np.int64), axes)
    for k in sorted(set(axes)):
        length = a.shape[k]
        by = int(shifts[where == k].sum()) % length if length else 0
        if by:
            before = (slice(None),) * k
            a = concatenate(a[(*before, slice(length - by, None))], a[(*before, slice(length - by))], axis=k)
    return a.copy()


# -- padding -------------------------------------------------------------------------------


@implements(np.pad)
def np_pad(array: Tensor, pad_width: Any, mode: Any = "constant", **kwargs: Any) -> Tensor:
    """Widen an array at its edges."""
    widths = _pad_widths(array, pad_width)
    if mode == "constant":
        values = kwargs.pop("constant_values", 0)
        refuse("numpy.pad", **kwargs)
        return _pad_constant(array, widths, values)
    if mode not in ("edge", "reflect", "symmetric", "wrap"):
        raise UnsupportedFunctionError(
            "this mode is not supported on tensors",
            op="numpy.pad",
            argument="mode",
            expected="'constant', 'edge', 'reflect', 'symmetric' or 'wrap'",
            got=repr(mode),
            remedy="join what is to stand at the edges with np.concatenate",
        )
    if mode in ("reflect", "symmetric"):
        refuse("numpy.pad", reflect_type=(kwargs.pop("reflect_type", "even"), "even"))
    refuse("numpy.pad", **kwargs)
    for axis, width in enumerate(widths):
        if width != (0, 0):
            array = take_positions(array, np.pad(np.arange(array.shape[axis]), width, mode), axis)
    return array.copy()


def _pad_widths(array: Tensor, pad_width: Any) -> list[tuple[int, int]]:
    if isinstance(pad_width, dict):
        pairs = [(0, 0)] * array.ndim
        for axis, width in pad_width.items():
            before, after = width if np.iterable(width) else (width, width)
            pairs[axis_index("numpy.pad", axis, array.ndim, "pad_width")] = (before, after)
        pad_width = pairs
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu":
        raise ArgumentError(
            "`pad_width` must be of integral type.",
            op="numpy.pad",
            argument="pad_width",
            expected="integers",
            got=pad_width,
            remedy="convert the widths with int()",
        )
    try:
        pairs = [(int(a), int(b)) for a, b in np.broadcast_to(widths, (array.ndim, 2))]
    except ValueError:
        pairs = [(-1, -1)]
    if any(min(pair) < 0 for pair in pairs):
        raise ShapeError(
            "widths do not fit the array",
            op="numpy.pad",
            argument="pad_width",
            expected=f"widths of 0 or more, for {array.ndim} axes",
            got=pad_width,
            remedy="give one (before, after) for each axis, or one for all",
        )
    return pairs


def _pad_constant(x: Tensor, widths: Sequence[tuple[int, int]], values: Any) -> Tensor:
    trace = innermost((x, values))
    value = as_tensor_of(values, trace, x.dtype)
    if value.ndim == 0:
        return _padded(x, dict(enumerate(widths)), value)
    value = np.broadcast_to(value, (x.ndim, 2))
    for k, (before, after) in enumerate(widths):
        # As in NumPy, later axes fill the corners.
        x = _padded(x, {k: (before, 0)}, value[k, 0])
        x = _padded(x, {k: (0, after)}, value[k, 1])
    return x.copy()


def _padded(x: Tensor, widths: dict[int, tuple[int, int]], value: Tensor) -> Tensor:
    """Return ``x`` in an array filled with a value, some axes longer."""
    pairs = [widths.get(k, (0, 0)) for k in range(x.ndim)]
    shape = tuple([a + n + b for n, (a, b) in zip(x.shape, pairs, strict=True)])
    if shape == x.shape:
        return x.copy()
    index = tuple([sliced(a, a + n, 1, m) for n, m, (a, _) in zip(x.shape, shape, pairs, strict=True)])
    return index_set(broadcast_to(value, shape=shape), x, index=index)


# -- inserting and deleting --------------------------------------------------------------------


@implements(np.delete)
def np_delete(arr: Tensor, obj: Any, axis: Any = None) -> Tensor:
    """Leave out positions of an axis."""
    if axis is None:
        arr, axis = reshape(arr, shape=(arr.size,)), 0
    axis = axis_index("numpy.delete", axis, arr.ndim)
    return take_positions(arr, np.delete(np.arange(arr.shape[axis]), obj), axis, unique=True)


@implements(np.insert)
def np_insert(arr: Any, obj: Any, values: Any, axis: Any = None) -> Tensor:
    """Insert values before positions of an axis."""
    arr = as_array(arr)
    trace = innermost((arr, *leaves(values)))
    values = as_tensor_of(values, trace, arr.dtype)
    if axis is None:
        arr, axis = reshaped(arr, (arr.size,)), 0
    axis = axis_index("numpy.insert", axis, arr.ndim)
    length = arr.shape[axis]
    where = np.arange(length)[obj] if isinstance(obj, slice) else np.asarray(obj)
    where = np.flatnonzero(where) if where.dtype == bool else where.astype(np.int64)
    values = reshaped(values, (1,) * (arr.ndim - values.ndim) + values.shape)
    if where.ndim == 0:
        values = np.moveaxis(values, 0, axis)
    count = values.shape[axis] if where.size == 1 else where.size
    if where.size == 1:
        where = np.repeat(where.ravel(), count)
    places = np.insert(np.arange(length), where, length + np.arange(count))
    values = np.broadcast_to(values, (*arr.shape[:axis], count, *arr.shape[axis + 1 :]))
    joined = concatenate(as_tensor(arr, trace), values, axis=axis)
    return take_positions(joined, places, axis, unique=True)


@implements(np.trim_zeros)
def np_trim_zeros(filt: Tensor, trim: Any = "fb", axis: Any = None) -> NoReturn:
    """Refuse; the shape would depend on values."""
    raise UnsupportedFunctionError(
        "trim_zeros is not supported on tensors: the shape of its result depends on values",
        op="numpy.trim_zeros",
        argument="filt",
        expected="a function whose result has a known shape",
        got=filt.spec,
        remedy="slice with known bounds",
    )
