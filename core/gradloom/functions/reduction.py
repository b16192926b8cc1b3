"""Traced counterparts of NumPy's reductions and cumulative functions, written from ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import as_tensor, axis_index, axis_tuple, reshaped
from gradloom.op import Op
from gradloom.ops import cumulative, reduction
from gradloom.ops.cast import astype
from gradloom.spec import broadcast_shapes
from gradloom.trace import Handle, innermost

Tensor = Any

#: NumPy's mark of an argument that was not given.
NoValue: Any = np._NoValue
_EVERY_AXIS = tuple([tuple(range(ndim)) for ndim in range(65)])


# -- arguments -----------------------------------------------------------------------------


def tensor_among(a: Any, *others: Any) -> Tensor:
    """Return an array argument as a tensor of the innermost trace among all arguments."""
    return a if isinstance(a, Handle) else as_tensor(a, innermost(others))


def reduced_axes(op: str, axis: Any, ndim: int) -> tuple[int, ...]:
    """Return the ``axis`` of a reduction (None, an int, a tuple) as non-negative ints, or raise."""
    if axis is None:
        return _EVERY_AXIS[ndim]
    if not ndim and not isinstance(axis, tuple) and axis in (0, -1):
        # NumPy reduces a 0-d array along its "first" axis.
        return ()
    return axis_tuple(op, axis, ndim)


def given(value: Any) -> bool:
    """Return whether an optional argument was given."""
    return value is not None and value is not NoValue


def cast(x: Any, dtype: Any) -> Any:
    """Return a tensor in a dtype."""
    return x if x.dtype == dtype else astype(x, dtype=np.dtype(dtype))


def mask_of(op: str, where: Any, a: Tensor) -> Any:
    """Return the argument ``where``, checked against the array that it selects from."""
    if not isinstance(where, Handle):
        where = np.asarray(where)
    if where.dtype != np.bool_:
        raise DTypeError(
            "where must be a mask",
            op=op,
            argument="where",
            expected="bool",
            got=where.dtype,
            remedy="compare: where=x > 0, or w != 0",
        )
    if reduction_shape(where.shape, a.shape) != a.shape:
        raise ShapeError(
            "where does not fit the array",
            op=op,
            argument="where",
            expected=f"a shape that broadcasts to {a.shape}",
            got=where.shape,
            remedy="give it axes of length 1: w[:, None]",
        )
    return where


def reduction_shape(first: tuple[int, ...], second: tuple[int, ...]) -> tuple[int, ...] | None:
    """Return the shape that two shapes broadcast to, None if they do not."""
    try:
        return broadcast_shapes(first, second)
    except ValueError:
        return None


def has_where(where: Any) -> bool:
    """Return whether ``where`` leaves anything out."""
    return where is not True and where is not NoValue


# -- sum, prod, any, all -------------------------------------------------------------------


@implements(np.sum)
def np_sum(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NoValue,
    where: Any = True,
) -> Tensor:
    """Add up along axes."""
    if dtype is None and out is None and initial is NoValue and where is True and isinstance(a, Handle):
        return _plain("numpy.sum", reduction.sum, a, axis, keepdims)
    return folded("numpy.sum", reduction.sum, np.add, a, axis, dtype, out, keepdims, initial, where)


def _plain(name: str, op: Op, a: Tensor, axis: Any, keepdims: Any) -> Tensor:
    """Reduce without further ado: on the path of every loss."""
    ndim = a.spec.ndim
    axes = _EVERY_AXIS[ndim] if axis is None else reduced_axes(name, axis, ndim)
    return a._trace.bind(op, (a,), (axes, bool(keepdims)))


@implements(np.prod)
def np_prod(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    keepdims: Any = False,
    initial: Any = NoValue,
    where: Any = True,
) -> Tensor:
    """Multiply along axes."""
    return folded("numpy.prod", reduction.prod, np.multiply, a, axis, dtype, out, keepdims, initial, where)


def folded(
    name: str,
    op: Op,
    ufunc: np.ufunc,
    a: Any,
    axis: Any,
    dtype: Any,
    out: Any,
    keepdims: Any,
    initial: Any,
    where: Any,
) -> Tensor:
    """Reduce with a ufunc that has an identity."""
    refuse(name, out=out)
    a = tensor_among(a, initial, where)
    if dtype is not None:
        a = cast(a, dtype)
    if has_where(where):
        a = np.where(mask_of(name, where, a), a, a.dtype.type(ufunc.identity))
    result = op(a, axis=reduced_axes(name, axis, a.ndim), keepdims=bool(keepdims))
    if given(initial):
        result = cast(ufunc(result, initial), result.dtype)
    return result if dtype is None else cast(result, dtype)


@implements(np.any)
def np_any(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Tensor:
    """Return whether any element along axes is true."""
    return folded("numpy.any", reduction.any, np.logical_or, a, axis, None, out, keepdims, None, where)


@implements(np.all)
def np_all(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True) -> Tensor:
    """Return whether all elements along axes are true."""
    return folded("numpy.all", reduction.all, np.logical_and, a, axis, None, out, keepdims, None, where)


@implements(np.count_nonzero)
def np_count_nonzero(a: Any, axis: Any = None, *, keepdims: Any = False) -> Tensor:
    """Count what is not zero."""
    return np_sum(a != 0, axis, keepdims=keepdims)


# -- max, min ------------------------------------------------------------------------------


@implements(np.max, np.amax)
def np_max(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NoValue, where: Any = True
) -> Tensor:
    """Return the maximum along axes; at ties its gradient is shared evenly."""
    if out is None and initial is NoValue and where is True and isinstance(a, Handle):
        return _plain("numpy.max", reduction.max, a, axis, keepdims)
    return extremum("numpy.max", reduction.max, np.maximum, a, axis, out, keepdims, initial, where)


@implements(np.min, np.amin)
def np_min(
    a: Any, axis: Any = None, out: Any = None, keepdims: Any = False, initial: Any = NoValue, where: Any = True
) -> Tensor:
    """Return the minimum along axes; at ties its gradient is shared evenly."""
    if out is None and initial is NoValue and where is True and isinstance(a, Handle):
        return _plain("numpy.min", reduction.min, a, axis, keepdims)
    return extremum("numpy.min", reduction.min, np.minimum, a, axis, out, keepdims, initial, where)


def extremum(
    name: str,
    op: Op,
    ufunc: np.ufunc,
    a: Any,
    axis: Any,
    out: Any,
    keepdims: Any,
    initial: Any,
    where: Any,
) -> Tensor:
    """Return a maximum or minimum along axes."""
    refuse(name, out=out)
    a = tensor_among(a, initial, where)
    axes = reduced_axes(name, axis, a.ndim)
    if not given(initial):
        if has_where(where):
            raise ShapeError(
                "the reduction has no identity for what where leaves out",
                op=name,
                argument="where",
                expected="where together with initial",
                got="where alone",
                remedy="pass initial=",
            )
        return op(a, axis=axes, keepdims=bool(keepdims))
    if has_where(where):
        a = np.where(mask_of(name, where, a), a, worst(ufunc, a.dtype))
    shape = reduction.reduced_shape(a.shape, axes, bool(keepdims))
    if not a.size:
        return np.broadcast_to(cast(tensor_among(initial, a), a.dtype), shape)
    return cast(ufunc(op(a, axis=axes, keepdims=bool(keepdims)), initial), a.dtype)


def worst(ufunc: np.ufunc, dtype: np.dtype[Any]) -> Any:
    """Return the number of a dtype that never wins against another."""
    sign = -1 if ufunc is np.maximum else 1
    if dtype.kind in "fc":
        return dtype.type(sign * np.inf)
    if dtype.kind == "b":
        return np.bool_(sign > 0)
    return dtype.type(np.iinfo(dtype).min if sign < 0 else np.iinfo(dtype).max)


@implements(np.ptp)
def np_ptp(a: Any, axis: Any = None, out: Any = None, keepdims: Any = False) -> Tensor:
    """Return the maximum less the minimum."""
    refuse("numpy.ptp", out=out)
    axes = reduced_axes("numpy.ptp", axis, a.ndim)
    return np_max(a, axes, keepdims=keepdims) - np_min(a, axes, keepdims=keepdims)


# -- argmax, argmin ------------------------------------------------------------------------


@implements(np.argmax)
def np_argmax(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Tensor:
    """Return the index of the first maximum."""
    return _position("numpy.argmax", reduction.argmax, a, axis, out, keepdims)


@implements(np.argmin)
def np_argmin(a: Any, axis: Any = None, out: Any = None, *, keepdims: Any = False) -> Tensor:
    """Return the index of the first minimum."""
    return _position("numpy.argmin", reduction.argmin, a, axis, out, keepdims)


def _position(name: str, op: Op, a: Tensor, axis: Any, out: Any, keepdims: Any) -> Tensor:
    refuse(name, out=out)
    if axis is not None and a.ndim:
        return op(a, axis=axis_index(name, axis, a.ndim), keepdims=bool(keepdims))
    reduced_axes(name, axis, a.ndim)
    position = op(flat(a), axis=0)
    return reshaped(position, (1,) * a.ndim) if keepdims and a.ndim else position


def flat(a: Tensor) -> Tensor:
    """Return a tensor with one axis."""
    return a if a.ndim == 1 else reshaped(a, (a.size,))


# -- cumulative ----------------------------------------------------------------------------


@implements(np.cumsum)
def np_cumsum(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Tensor:
    """Add up step by step."""
    return cumulated("numpy.cumsum", cumulative.cumsum, a, axis, dtype, out)


@implements(np.cumprod)
def np_cumprod(a: Any, axis: Any = None, dtype: Any = None, out: Any = None) -> Tensor:
    """Multiply step by step."""
    return cumulated("numpy.cumprod", cumulative.cumprod, a, axis, dtype, out)


def cumulated(name: str, op: Op, a: Tensor, axis: Any, dtype: Any, out: Any) -> Tensor:
    """Add up or multiply step by step."""
    refuse(name, out=out)
    if dtype is not None:
        a = cast(a, dtype)
    if axis is None or not a.ndim:
        reduced_axes(name, axis, a.ndim)
        a, axis = flat(a), 0
    result = op(a, axis=axis_index(name, axis, a.ndim))
    return result if dtype is None else cast(result, dtype)


@implements(np.cumulative_sum)
def np_cumulative_sum(
    x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Tensor:
    """Add up step by step, from 0 with ``include_initial``."""
    return _cumulative_standard("numpy.cumulative_sum", np_cumsum, 0, x, axis, dtype, out, include_initial)


@implements(np.cumulative_prod)
def np_cumulative_prod(
    x: Any, /, *, axis: Any = None, dtype: Any = None, out: Any = None, include_initial: bool = False
) -> Tensor:
    """Multiply step by step, from 1 with ``include_initial``."""
    return _cumulative_standard("numpy.cumulative_prod", np_cumprod, 1, x, axis, dtype, out, include_initial)


def _cumulative_standard(
    name: str, function: Any, first: int, x: Tensor, axis: Any, dtype: Any, out: Any, include_initial: bool
) -> Tensor:
    refuse(name, out=out)
    if not x.ndim or (axis is None and x.ndim > 1):
        raise ArgumentError(
            "axis is needed",
            op=name,
            argument="axis",
            expected="an axis, or a 1-d array",
            got=f"a {x.ndim}-d array",
            remedy="name it with axis=, or flatten the array with np.ravel",
        )
    axis = 0 if axis is None else axis_index(name, axis, x.ndim)
    result: Tensor = function(x, axis, dtype)
    if not include_initial:
        return result
    start = np.full((*x.shape[:axis], 1, *x.shape[axis + 1 :]), first, result.dtype)
    return np.concatenate([start, result], axis)
