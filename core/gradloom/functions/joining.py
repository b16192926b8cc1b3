"""Traced counterparts of NumPy's functions that join, split, repeat and pad, written from ops."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, DTypeError, ShapeError, UnsupportedFunctionError
from gradloom.functions._arguments import as_array, as_tensor, axis_index, reshaped
from gradloom.ops.indexing import gather, index_set
from gradloom.ops.shape import broadcast_to, concatenate, reshape
from gradloom.trace import innermost

Tensor = Any


# -- joining -------------------------------------------------------------------------------


@implements(np.concatenate)
def np_concatenate(
    arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind"
) -> Tensor:
    """Join arrays along an axis."""
    return _concatenate("numpy.concatenate", _sequence("numpy.concatenate", arrays), axis, out, dtype, casting)


def _sequence(op: str, arrays: Any) -> list[Any]:
    if hasattr(arrays, "ndim"):
        return [arrays[k] for k in range(len(arrays))]
    if not isinstance(arrays, (list, tuple)) or not arrays:
        raise ArgumentError("need a sequence of at least one array", op=op, got=type(arrays).__name__)
    return [as_array(x) for x in arrays]


def _concatenate(op: str, arrays: list[Any], axis: Any, out: Any, dtype: Any, casting: str) -> Tensor:
    refuse(op, out=out)
    if axis is None:
        arrays, axis = [np.ravel(x) for x in arrays], 0
    if any(x.ndim == 0 for x in arrays):
        raise ShapeError(
            "0-d arrays cannot be concatenated",
            op=op,
            expected="arrays of 1 or more axes",
            got=", ".join(str(x.shape) for x in arrays),
            remedy="use np.stack",
        )
    axis = axis_index(op, axis, arrays[0].ndim)
    if dtype is not None or casting not in ("same_kind", "unsafe"):
        arrays = [_cast(op, x, np.dtype(dtype or np.result_type(*[a.dtype for a in arrays])), casting) for x in arrays]
    if innermost(arrays) is None:
        return np.concatenate(arrays, axis)
    return concatenate(*arrays, axis=axis)


def _cast(op: str, x: Any, dtype: np.dtype[Any], casting: Any) -> Any:
    if x.dtype == dtype:
        return x
    if not np.can_cast(x.dtype, dtype, casting):
        raise DTypeError(
            f"cannot cast under the rule {casting!r}",
            op=op,
            argument="casting",
            expected=dtype,
            got=x.dtype,
        )
    return np.astype(x, dtype)


@implements(np.stack)
def np_stack(arrays: Any, axis: Any = 0, out: Any = None, *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
    """Join arrays along a new axis."""
    parts = _sequence("numpy.stack", arrays)
    shape = parts[0].shape
    for k, x in enumerate(parts):
        if x.shape != shape:
            raise ShapeError(
                "arrays to stack must have one shape",
                op="numpy.stack",
                argument=f"array {k}",
                expected=shape,
                got=x.shape,
            )
    axis = axis_index("numpy.stack", axis, len(shape) + 1)
    wide = (*shape[:axis], 1, *shape[axis:])
    return _concatenate("numpy.stack", [reshaped(x, wide) for x in parts], axis, out, dtype, casting)


@implements(np.vstack)
def np_vstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
    """Join arrays along axis 0, vectors as rows."""
    parts = [np.atleast_2d(x) for x in _sequence("numpy.vstack", tup)]
    return _concatenate("numpy.vstack", parts, 0, None, dtype, casting)


@implements(np.hstack)
def np_hstack(tup: Any, *, dtype: Any = None, casting: Any = "same_kind") -> Tensor:
    """Join arrays along axis 1, vectors along axis 0."""
    parts = [np.atleast_1d(x) for x in _sequence("numpy.hstack", tup)]
    return _concatenate("numpy.hstack", parts, 0 if parts[0].ndim == 1 else 1, None, dtype, casting)


@implements(np.dstack)
def np_dstack(tup: Any) -> Tensor:
    """Join arrays along axis 2."""
    parts = [np.atleast_3d(x) for x in _sequence("numpy.dstack", tup)]
    return _concatenate("numpy.dstack", parts, 2, None, None, "same_kind")


@implements(np.column_stack)
def np_column_stack(tup: Any) -> Tensor:
    """Join vectors as the columns of a matrix."""
    columns = [np.reshape(x, (-1, 1)) if x.ndim < 2 else x for x in _sequence("numpy.column_stack", tup)]
    return _concatenate("numpy.column_stack", columns, 1, None, None, "same_kind")


@implements(np.append)
def np_append(arr: Any, values: Any, axis: Any = None) -> Tensor:
    """Join values to the end of an array."""
    return _concatenate("numpy.append", [as_array(arr), as_array(values)], axis, None, None, "same_kind")


@implements(np.block)
def np_block(arrays: Any) -> Tensor:
    """Join nested lists of blocks."""
    depth = _depth(arrays)
    ndim = max(depth, *[np.ndim(x) for x in _blocks(arrays)])
    return _block(arrays, depth, ndim)


def _depth(arrays: Any) -> int:
    if not isinstance(arrays, list):
        return 0
    depths = {_depth(x) for x in arrays}
    if len(depths) != 1:
        raise ShapeError("lists must be nested equally deep", op="numpy.block", got=sorted(depths))
    return depths.pop() + 1


def _blocks(arrays: Any) -> list[Any]:
    return [leaf for x in arrays for leaf in _blocks(x)] if isinstance(arrays, list) else [arrays]


def _block(arrays: Any, depth: int, ndim: int) -> Any:
    if not isinstance(arrays, list):
        x = as_array(arrays)
        return reshaped(x, (1,) * (ndim - x.ndim) + x.shape)
    parts = [_block(x, depth - 1, ndim) for x in arrays]
    return _concatenate("numpy.block", parts, -depth, None, None, "same_kind")


# -- splitting -----------------------------------------------------------------------------


@implements(np.array_split)
def np_array_split(ary: Tensor, indices_or_sections: Any, axis: Any = 0) -> list[Tensor]:
    """Split into parts of nearly equal length."""
    return _split("numpy.array_split", ary, indices_or_sections, axis, False)


@implements(np.split)
def np_split(ary: Tensor, indices_or_sections: Any, axis: Any = 0) -> list[Tensor]:
    """Split into parts of equal length, or at positions."""
    return _split("numpy.split", ary, indices_or_sections, axis, True)


def _split(op: str, x: Tensor, sections: Any, axis: Any, equal: bool) -> list[Tensor]:
    axis = axis_index(op, axis, x.ndim)
    length = x.shape[axis]
    if np.iterable(sections):
        cuts = [operator.index(k) for k in sections]
    else:
        count = operator.index(sections)
        if count <= 0 or (equal and length % count):
            raise ShapeError(
                "an array split does not result in an equal division",
                op=op,
                argument="indices_or_sections",
                expected=f"a divisor of {length}" if equal else "1 or more",
                got=count,
            )
        small, more = divmod(length, count)
        cuts = list(np.cumsum([small + (k < more) for k in range(count)])[:-1].tolist())
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in zip([0, *cuts], [*cuts, length], strict=True)]


@implements(np.hsplit)
def np_hsplit(ary: Tensor, indices_or_sections: Any) -> list[Tensor]:
    """Split along axis 1, vectors along axis 0."""
    _at_least("numpy.hsplit", ary, 1)
    return _split("numpy.hsplit", ary, indices_or_sections, 1 if ary.ndim > 1 else 0, True)


@implements(np.vsplit)
def np_vsplit(ary: Tensor, indices_or_sections: Any) -> list[Tensor]:
    """Split along axis 0."""
    _at_least("numpy.vsplit", ary, 2)
    return _split("numpy.vsplit", ary, indices_or_sections, 0, True)


@implements(np.dsplit)
def np_dsplit(ary: Tensor, indices_or_sections: Any) -> list[Tensor]:
    """Split along axis 2."""
    _at_least("numpy.dsplit", ary, 3)
    return _split("numpy.dsplit", ary, indices_or_sections, 2, True)


def _at_least(op: str, x: Tensor, ndim: int) -> None:
    if x.ndim < ndim:
        raise ShapeError("too few axes", op=op, expected=f"an array of {ndim} or more axes", got=x.shape)


def np_unstack(x: Tensor, /, *, axis: Any = 0) -> tuple[Tensor, ...]:
    """Split into the parts of an axis, without that axis."""
    axis = axis_index("numpy.unstack", axis, x.ndim)
    return tuple([x[(*(slice(None),) * axis, k)] for k in range(x.shape[axis])])


# NumPy 2.1 brought unstack.
if hasattr(np, "unstack"):
    implements(np.unstack)(np_unstack)


# -- repeating and rolling -------------------------------------------------------------------


def take_positions(x: Tensor, positions: Any, axis: int, unique: bool = False) -> Tensor:
    """Return ``x`` at some positions along an axis."""
    index: list[Any] = [("slice", 0, n, 1) for n in x.shape]
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
        raise ShapeError("repeats may not be negative", op="numpy.repeat", argument="repeats", got=count)
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
        raise ArgumentError("`pad_width` must be of integral type.", op="numpy.pad", got=pad_width)
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
        )
    return pairs


def _pad_constant(x: Tensor, widths: Sequence[tuple[int, int]], values: Any) -> Tensor:
    trace = innermost((x, values))
    value = np.astype(as_tensor(values, trace), x.dtype)
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
    index = tuple([("slice", a, a + n, 1) for n, (a, _) in zip(x.shape, pairs, strict=True)])
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
    arr, values = as_array(arr), as_array(values)
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
    trace = innermost((arr, values))
    joined = concatenate(as_tensor(arr, trace), np.astype(as_tensor(values, trace), arr.dtype), axis=axis)
    return take_positions(joined, places, axis, unique=True)


@implements(np.trim_zeros)
def np_trim_zeros(filt: Tensor, trim: Any = "fb", axis: Any = None) -> NoReturn:
    """Refuse; the shape would depend on values."""
    raise UnsupportedFunctionError(
        "trim_zeros is not supported on tensors: the shape of its result depends on values",
        op="numpy.trim_zeros",
        remedy="slice with known bounds",
    )
