"""Traced counterparts of NumPy's functions that join and split, written from ops."""

from __future__ import annotations

import itertools
import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import as_array, axis_index, reshaped
from gradloom.ops.shape import concatenate
from gradloom.refusals import describe
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
        raise ArgumentError(
            "need a sequence of at least one array",
            op=op,
            argument="arrays",
            expected="a list or tuple of arrays",
            got="an empty one" if isinstance(arrays, (list, tuple)) else describe(arrays),
            remedy="write the arrays into a list",
        )
    return [as_array(x) for x in arrays]


def _concatenate(op: str, arrays: list[Any], axis: Any, out: Any, dtype: Any, casting: str) -> Tensor:
    refuse(op, out=out)
    if axis is None:
        arrays, axis = [np.ravel(x) for x in arrays], 0
    if any(x.ndim == 0 for x in arrays):
        raise ShapeError(
            "0-d arrays cannot be concatenated",
            op=op,
            argument="arrays",
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
            expected=f"a rule that lets {x.dtype} become {dtype}",
            got=repr(casting),
            remedy="convert the arrays with astype first",
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
                remedy="use np.concatenate, or np.broadcast_arrays first",
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
        raise ShapeError(
            "lists must be nested equally deep",
            op="numpy.block",
            argument="arrays",
            expected="one depth",
            got=f"depths {sorted(depths)}",
            remedy="write a single block as a list of one",
        )
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
                remedy="use np.array_split" if equal else "give a number of pieces, or places to cut at",
            )
        small, more = length // count, length % count
        cuts = list(itertools.accumulate([small + 1 if k < more else small for k in range(count - 1)]))
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
        raise ShapeError(
            "too few axes",
            op=op,
            argument="ary",
            expected=f"an array of {ndim} or more axes",
            got=x.shape,
            remedy="use np.split with an axis",
        )


def np_unstack(x: Tensor, /, *, axis: Any = 0) -> tuple[Tensor, ...]:
    """Split into the parts of an axis, without that axis."""
    axis = axis_index("numpy.unstack", axis, x.ndim)
    return tuple([x[(*(slice(None),) * axis, k)] for k in range(x.shape[axis])])


# NumPy 2.1 brought unstack.
if hasattr(np, "unstack"):
    implements(np.unstack)(np_unstack)
