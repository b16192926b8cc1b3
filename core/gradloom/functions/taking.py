"""Traced counterparts of NumPy's functions that take, find and put elements, written from ops."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, DTypeError, ShapeError, UnsupportedFunctionError
from gradloom.functions._arguments import as_array, as_tensor, as_tensor_of, axis_index
from gradloom.functions.indexing import value_of
from gradloom.ops.indexing import gather
from gradloom.ops.shape import reshape
from gradloom.ops.taking import take_along_axis
from gradloom.refusals import describe
from gradloom.spec import PYTHON_SCALARS, WHOLE, broadcast_shapes
from gradloom.trace import innermost

Tensor = Any


# -- take and its relatives --------------------------------------------------------------------


@implements(np.take)
def np_take(a: Any, indices: Any, axis: Any = None, out: Any = None, mode: Any = "raise") -> Tensor:
    """Take positions along an axis."""
    refuse("numpy.take", out=out)
    a, indices = as_array(a), as_array(indices)
    trace = innermost((a, indices))
    a = as_tensor(a, trace)
    if axis is None:
        a, axis = reshape(a, shape=(a.size,)), 0
    axis = axis_index("numpy.take", axis, a.ndim)
    _require_integers("numpy.take", indices)
    n = a.shape[axis]
    if mode == "wrap":
        indices = indices % n
    elif mode == "clip":
        indices = np.clip(indices, 0, max(n - 1, 0))
    elif mode != "raise":
        raise ArgumentError(
            "no such mode",
            op="numpy.take",
            argument="mode",
            expected="'raise', 'wrap' or 'clip'",
            got=repr(mode),
            remedy="leave mode out to raise where an index is out of bounds",
        )
    index = tuple(["array" if k == axis else WHOLE for k in range(a.ndim)])
    return gather(a, indices, index=index)


def _require_integers(op: str, indices: Any) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(
            "indices must be integers",
            op=op,
            argument="indices",
            expected="an integer dtype",
            got=indices.dtype,
            remedy="convert them (i.astype(int)); with a mask use x[mask], or np.where under jit",
        )


@implements(np.take_along_axis)
def np_take_along_axis(arr: Any, indices: Any, axis: Any = -1) -> Tensor:
    """Take positions along an axis, the other axes in step."""
    arr, indices = as_array(arr), as_array(indices)
    _require_integers("numpy.take_along_axis", indices)
    trace = innermost((arr, indices))
    arr = as_tensor(arr, trace)
    if axis is None:
        if indices.ndim != 1:
            raise ShapeError(
                "with axis=None indices have one axis",
                op="numpy.take_along_axis",
                argument="indices",
                expected="a 1-d array",
                got=indices.shape,
                remedy="pass axis=",
            )
        arr, axis = reshape(arr, shape=(arr.size,)), 0
    axis = axis_index("numpy.take_along_axis", axis, arr.ndim)
    if indices.ndim != arr.ndim:
        raise ShapeError(
            "indices and array must have as many axes",
            op="numpy.take_along_axis",
            argument="indices",
            expected=f"{arr.ndim} axes",
            got=indices.shape,
            remedy="add the axis: np.expand_dims(indices, axis)",
        )
    if all(k == axis or m == n for k, (m, n) in enumerate(zip(indices.shape, arr.shape, strict=True))):
        return take_along_axis(arr, indices, axis=axis)
    shape = list(broadcast_shapes(_without(arr.shape, axis), _without(indices.shape, axis)))
    wide = [(*shape[:axis], x.shape[axis], *shape[axis:]) for x in (arr, indices)]
    return take_along_axis(np.broadcast_to(arr, wide[0]), np.broadcast_to(indices, wide[1]), axis=axis)


def _without(shape: tuple[int, ...], axis: int) -> tuple[int, ...]:
    return shape[:axis] + shape[axis + 1 :]


@implements(np.compress)
def np_compress(condition: Any, a: Any, axis: Any = None, out: Any = None) -> Tensor:
    """Take the positions along an axis where a condition holds."""
    refuse("numpy.compress", out=out)
    condition = value_of(as_array(condition), "numpy.compress").astype(bool)
    return np.take(a, np.flatnonzero(condition), axis=axis)


@implements(np.extract)
def np_extract(condition: Any, arr: Any) -> Tensor:
    """Take the elements where a condition holds."""
    condition = value_of(as_array(condition), "numpy.extract").astype(bool)
    return np.take(arr, np.flatnonzero(condition))


@implements(np.choose)
def np_choose(a: Any, choices: Any, out: Any = None, mode: Any = "raise") -> Tensor:
    """Choose elements from several arrays by number."""
    refuse("numpy.choose", out=out)
    choices = [c if hasattr(c, "dtype") or type(c) in PYTHON_SCALARS else as_array(c) for c in choices]
    dtype, trace = np.result_type(*choices), innermost((a, *choices))
    table = np.stack(np.broadcast_arrays(*[as_tensor_of(c, trace, dtype) for c in choices]))
    picks = as_array(a)
    picks = np.astype(picks, np.int64) if picks.dtype == bool else picks
    shape = broadcast_shapes(picks.shape, table.shape[1:])
    table, picks = np.broadcast_to(table, (len(table), *shape)), np.broadcast_to(picks, shape)
    n = len(table)
    if mode == "wrap":
        picks = picks % n
    elif mode == "clip":
        picks = np.clip(picks, 0, n - 1)
    return np.take_along_axis(table, picks[None], axis=0)[0]


# -- where elements are -------------------------------------------------------------------------


@implements(np.nonzero)
def np_nonzero(a: Tensor) -> tuple[Any, ...]:
    """Return the positions of nonzero elements, evaluated on the spot."""
    if a.ndim == 0:
        raise ShapeError(
            "nonzero of a 0-d array",
            op="numpy.nonzero",
            argument="a",
            expected="an array of 1 or more axes",
            got=a.shape,
            remedy="use np.atleast_1d(x).nonzero()",
        )
    return np.nonzero(value_of(a, "numpy.nonzero"))


@implements(np.flatnonzero)
def np_flatnonzero(a: Tensor) -> Any:
    """Return the flat positions of nonzero elements, evaluated on the spot."""
    return np.flatnonzero(value_of(a, "numpy.flatnonzero"))


@implements(np.argwhere)
def np_argwhere(a: Tensor) -> Any:
    """Return the positions of nonzero elements as rows, evaluated on the spot."""
    return np.argwhere(value_of(a, "numpy.argwhere"))


@implements(np.ix_)
def np_ix_(*args: Any) -> tuple[Any, ...]:
    """Return index arrays that select a grid."""
    grids = []
    for k, sequence in enumerate(args):
        x = as_array(sequence)
        if x.ndim != 1:
            raise ShapeError(
                "index sequences have one axis",
                op="numpy.ix_",
                argument=f"argument {k}",
                expected="a 1-d array",
                got=x.shape,
                remedy="flatten it with np.ravel",
            )
        if x.dtype.kind == "b":
            x = np.flatnonzero(x)
        grids.append(np.reshape(x, (1,) * k + x.shape + (1,) * (len(args) - 1 - k)))
    return tuple(grids)


@implements(np.unravel_index)
def np_unravel_index(indices: Tensor, shape: Any, order: Any = "C") -> tuple[Tensor, ...]:
    """Return flat positions as one position per axis."""
    _require_integers("numpy.unravel_index", indices)
    lengths = [operator.index(n) for n in shape] if np.iterable(shape) else [operator.index(shape)]
    parts = []
    rest = indices
    for n in lengths if order == "F" else reversed(lengths):
        parts.append(rest % n)
        rest = rest // n
    return tuple(parts if order == "F" else parts[::-1])


@implements(np.ravel_multi_index)
def np_ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: Any = "C") -> Any:
    """Return flat positions from one position per axis; positions out of bounds are not looked for."""
    lengths = tuple(dims) if np.iterable(dims) else (dims,)
    modes = (mode,) * len(lengths) if isinstance(mode, str) else tuple(mode)
    total: Any = 0
    triples = list(zip(multi_index, lengths, modes, strict=True))
    for position, n, how in triples if order == "C" else triples[::-1]:
        if how not in ("raise", "wrap", "clip"):
            raise ArgumentError(
                "no such mode",
                op="numpy.ravel_multi_index",
                argument="mode",
                expected="'raise', 'wrap' or 'clip'",
                got=repr(how),
            )
        where = position % n if how == "wrap" else np.clip(position, 0, n - 1) if how == "clip" else position
        total = total * n + where
    return total


# -- what a shape tells --------------------------------------------------------------------


@implements(np.diag_indices_from)
def np_diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """Return the positions of the main diagonal."""
    return np.diag_indices_from(np.broadcast_to(0, arr.shape))


@implements(np.tril_indices_from)
def np_tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Return the positions of the lower triangle."""
    return np.tril_indices_from(np.broadcast_to(0, arr.shape), k)


@implements(np.triu_indices_from)
def np_triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Return the positions of the upper triangle."""
    return np.triu_indices_from(np.broadcast_to(0, arr.shape), k)


# -- what only makes sense in place ----------------------------------------------------------------


def _refused(function: Any, remedy: str) -> None:
    name = f"numpy.{function.__name__}"

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedFunctionError(
            "this function changes an array in place",
            op=name,
            argument="argument 0",
            expected="a function that returns its result",
            got=describe(args[0]) if args else None,
            remedy=remedy,
        )

    implements(function)(refused)


_refused(np.put_along_axis, "assign (x[tuple(np.indices(...))] = v), or select with np.where")
_refused(np.put, "assign: x[np.unravel_index(i, x.shape)] = v")
_refused(np.place, "assign: x[mask] = v")
_refused(np.putmask, "assign or select: x = np.where(mask, v, x)")
_refused(np.fill_diagonal, "assign: i = np.arange(n); x[i, i] = v")
