"""Traced counterparts of NumPy's functions of order: sorting, searching, quantiles."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import as_array, axis_index, refuse_complex, reshaped
from gradloom.functions.reduction import flat, reduced_axes, tensor_among
from gradloom.ops import sorting
from gradloom.ops.reduction import reduced_shape
from gradloom.ops.shape import transpose

Tensor = Any

_KINDS = (None, "quicksort", "mergesort", "heapsort", "stable", "introselect")

# -- sort, argsort -------------------------------------------------------------------------


@implements(np.sort)
def np_sort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Tensor:
    """Sort along an axis; always stable, which any ``kind`` allows."""
    return _sorted("numpy.sort", sorting.sort, a, axis, kind, order)


@implements(np.argsort)
def np_argsort(a: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> Tensor:
    """Return the indices that sort along an axis; always stable, which any ``kind`` allows."""
    return _sorted("numpy.argsort", sorting.argsort, a, axis, kind, order)


@implements(np.partition)
def np_partition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Tensor:
    """Sort, which is the finest partition."""
    _check_kth("numpy.partition", a, kth, axis)
    return _sorted("numpy.partition", sorting.sort, a, axis, kind, order)


@implements(np.argpartition)
def np_argpartition(a: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> Tensor:
    """Return the indices that sort, which is the finest partition."""
    _check_kth("numpy.argpartition", a, kth, axis)
    return _sorted("numpy.argpartition", sorting.argsort, a, axis, kind, order)


def _sorted(name: str, op: Any, a: Tensor, axis: Any, kind: Any, order: Any) -> Tensor:
    refuse(name, order=order)
    if kind not in _KINDS:
        raise ArgumentError("unknown kind of sort", op=name, argument="kind", expected=_KINDS, got=repr(kind))
    result: Tensor = op(flat(a), axis=0) if axis is None else op(a, axis=axis_index(name, axis, a.ndim))
    return result


def _check_kth(name: str, a: Any, kth: Any, axis: Any) -> None:
    a = tensor_among(a, kth)
    length = a.size if axis is None else a.shape[axis_index(name, axis, a.ndim)]
    positions = np.asarray(kth)
    if positions.size and not (-length <= positions.min() and positions.max() < length):
        raise ShapeError("kth is out of bounds", op=name, argument="kth", expected=f"below {length}", got=kth)


@implements(np.sort_complex)
def np_sort_complex(a: Any) -> Tensor:
    """Sort by the real part, then the imaginary part, as complex numbers."""
    return np.sort(np.astype(a, np.sort_complex(np.empty(0, a.dtype)).dtype))


@implements(np.lexsort)
def np_lexsort(keys: Any, axis: Any = -1) -> Tensor:
    """Return the order by the last key, then the one before it, and so on."""
    rows = [tensor_among(as_array(key), *keys) for key in keys]
    order = np.argsort(rows[0], axis=axis, kind="stable")
    for row in rows[1:]:
        sorted_row = np.take_along_axis(row, order, axis=axis)
        order = np.take_along_axis(order, np.argsort(sorted_row, axis=axis, kind="stable"), axis=axis)
    return order


# -- searchsorted, digitize ----------------------------------------------------------------


@implements(np.searchsorted)
def np_searchsorted(a: Any, v: Any, side: str = "left", sorter: Any = None) -> Tensor:
    """Return where values would be inserted into a sorted array."""
    if side not in ("left", "right"):
        raise ArgumentError(
            "unknown side", op="numpy.searchsorted", argument="side", expected="'left' or 'right'", got=repr(side)
        )
    if np.ndim(a) != 1:
        raise ShapeError(
            "a must be 1-d",
            op="numpy.searchsorted",
            argument="a",
            expected="1 axis",
            got=np.shape(a),
            remedy="search each row by itself: gl.vmap(np.searchsorted)(a, v)",
        )
    if sorter is not None:
        a = np.take(tensor_among(a, sorter, v), sorter)
    v = as_array(v)
    found = sorting.searchsorted(a, reshaped(v, (v.size,)), side=side)
    return reshaped(found, v.shape)


@implements(np.digitize)
def np_digitize(x: Any, bins: Any, right: bool = False) -> Tensor:
    """Return the bin that each value falls in; bins are known edges."""
    refuse_complex("numpy.digitize", "x", x)
    edges = np.asarray(bins)
    steps = np.diff(edges)
    side = "left" if right else "right"
    if (steps >= 0).all():
        return np_searchsorted(edges, x, side)
    if (steps <= 0).all():
        return len(edges) - np_searchsorted(edges[::-1], x, side)
    raise ArgumentError(
        "bins must be monotonic",
        op="numpy.digitize",
        argument="bins",
        expected="ascending or descending edges",
        got=edges,
        remedy="sort the bins",
    )


# -- median, quantile ----------------------------------------------------------------------


def _sorted_rows(name: str, a: Tensor, axis: Any) -> tuple[Tensor, tuple[int, ...]]:
    """Return the reduced axes as one last axis, sorted; and those axes."""
    axes = reduced_axes(name, axis, a.ndim)
    kept = tuple([k for k in range(a.ndim) if k not in axes])
    if len(axes) != 1 or axes[0] != a.ndim - 1:
        a = reshaped(transpose(a, axes=(*kept, *axes)), (*[a.shape[k] for k in kept], _size_along(a, axes)))
    return sorting.sort(a, axis=a.ndim - 1), axes


def _size_along(a: Tensor, axes: tuple[int, ...]) -> int:
    return math.prod([a.shape[k] for k in axes])


@implements(np.median)
def np_median(
    a: Any, axis: Any = None, out: Any = None, overwrite_input: bool = False, keepdims: bool = False
) -> Tensor:
    """Return the middle, or the mean of the two in the middle; NaN where any element is."""
    refuse("numpy.median", out=out)
    shape = a.shape
    rows, axes = _sorted_rows("numpy.median", a, axis)
    n = rows.shape[-1]
    middle = np.mean(rows[..., (n - 1) // 2 : n // 2 + 1] if n else rows, axis=-1)
    if n and a.dtype.kind in "fc":
        last = reshaped(rows[..., n - 1 :], rows.shape[:-1])  # an index of -1 would be another number for each length
        middle = np.where(np.isnan(last), last, middle)
    return reshaped(middle, reduced_shape(shape, axes, True)) if keepdims else middle


@implements(np.quantile)
def np_quantile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Tensor:
    """Return quantiles; ``q`` is known, not traced."""
    refuse("numpy.quantile", out=out, weights=weights)
    return _quantile("numpy.quantile", tensor_among(a, q), q, 1, axis, method, keepdims)


@implements(np.percentile)
def np_percentile(
    a: Any,
    q: Any,
    axis: Any = None,
    out: Any = None,
    overwrite_input: bool = False,
    method: str = "linear",
    keepdims: bool = False,
    *,
    weights: Any = None,
) -> Tensor:
    """Return percentiles; ``q`` is known, not traced."""
    refuse("numpy.percentile", out=out, weights=weights)
    return _quantile("numpy.percentile", tensor_among(a, q), q, 100, axis, method, keepdims)


_METHODS = ("linear", "lower", "higher", "midpoint", "nearest")


def _quantile(name: str, a: Tensor, q: Any, whole: int, axis: Any, method: str, keepdims: bool) -> Tensor:
    q, rows, axes = _prepared(name, a, q, whole, axis, method)
    # Positions among the elements are known numbers, other ones for each length.
    result = _interpolated(rows, q * (operator.index(rows.shape[-1]) - 1), method)
    if a.dtype.kind == "f":
        last = reshaped(rows[..., -1], (*rows.shape[:-1], *[1] * q.ndim))
        result = np.where(np.isnan(last), last, result)
    return _quantiles_first(result, a, q, axes, keepdims)


def _prepared(name: str, a: Tensor, q: Any, whole: int, axis: Any, method: str) -> tuple[Any, Tensor, tuple[int, ...]]:
    """Return the checked fractions, the sorted rows, and the axes that they come from."""
    if method not in _METHODS:
        refuse(name, method=(method, "linear"))
    if a.dtype.kind == "c":
        raise DTypeError(
            "complex numbers have no order",
            op=name,
            argument="a",
            expected="real numbers",
            got=a.dtype,
            remedy="take np.abs(x), x.real or x.imag",
        )
    q = _fractions(name, a, q, whole)
    rows, axes = _sorted_rows(name, a, axis)
    if not rows.shape[-1]:
        raise ShapeError(
            "no elements",
            op=name,
            argument="a",
            expected="at least one element",
            got=a.shape,
            remedy="look at x.size first",
        )
    return q, rows, axes


def _quantiles_first(result: Tensor, a: Tensor, q: Any, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    loops = a.ndim - len(axes)
    result = transpose(result, axes=(*range(loops, result.ndim), *range(loops)))
    return reshaped(result, (*q.shape, *reduced_shape(a.shape, axes, True))) if keepdims else result


def nan_quantile(name: str, a: Tensor, q: Any, whole: int, axis: Any, method: str, keepdims: bool) -> Tensor:
    """Return quantiles of what is not NaN; NaN where nothing is."""
    if a.dtype.kind != "f":
        return _quantile(name, a, q, whole, axis, method, keepdims)
    q, rows, axes = _prepared(name, a, q, whole, axis, method)
    # NaN stands last in sorted rows; how many come before it differs from row to row.
    count = np.sum(~np.isnan(rows), axis=-1, keepdims=True)
    last = np.maximum(count - 1, 0)
    position = q.reshape(-1) * np.astype(last, np.float64)
    below = np.astype(np.floor(position), np.intp)
    t = position - np.floor(position)
    if method == "linear":
        low, high = _at(rows, below), _at(rows, np.minimum(below + 1, last))
        t = np.astype(t, np.result_type(rows.dtype, q.dtype))
        result = np.where(t >= 0.5, high - (high - low) * (1 - t), low + (high - low) * t)
    elif method == "midpoint":
        low, high = _at(rows, below), _at(rows, np.minimum(below + 1, last))
        result = np.where(t == 0, low, (low + high) / 2)
        result = np.astype(result, np.result_type(result.dtype, q.dtype), copy=False)
    else:
        choose = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}[method]
        result = _at(rows, np.astype(choose(position), np.intp))
    result = np.where(count == 0, result.dtype.type(np.nan), result)
    return _quantiles_first(reshaped(result, (*rows.shape[:-1], *q.shape)), a, q, axes, keepdims)


def _at(rows: Tensor, positions: Tensor) -> Tensor:
    return np.take_along_axis(rows, positions, axis=-1)


def _fractions(name: str, a: Tensor, q: Any, whole: int) -> Any:
    """Return ``q`` between 0 and 1, in the dtype in which NumPy computes with it."""
    if isinstance(q, (int, float)) and a.dtype.kind == "f":
        q = np.asarray(q, a.dtype)
    q = np.asarray(q)
    if whole != 1:
        q = np.true_divide(q, a.dtype.type(whole) if a.dtype.kind == "f" else whole)
    if not ((q >= 0) & (q <= 1)).all():
        raise ArgumentError(
            "a fraction is out of range",
            op=name,
            argument="q",
            expected=f"numbers from 0 to {whole}",
            got=q * whole,
            remedy="np.percentile takes numbers from 0 to 100, np.quantile from 0 to 1",
        )
    return q


def _interpolated(rows: Tensor, position: Any, method: str) -> Tensor:
    """Return the last axis of sorted rows at fractional positions."""
    if position.dtype.kind in "iu":
        return rows[..., position]
    below = np.floor(position).astype(np.intp)
    above = np.minimum(below + 1, rows.shape[-1] - 1)
    if method == "linear":
        t = np.asarray(position - np.floor(position))
        low, high = rows[..., below], rows[..., above]
        step = high - low
        # From the nearer end, so that the quantiles rise with q and hit the elements exactly.
        return np.where(t >= 0.5, high - step * (1 - t), low + step * t)
    if method == "midpoint":
        exact = position == below
        middle = np.where(exact, rows[..., below], (rows[..., below] + rows[..., above]) / 2)
        return np.astype(middle, np.result_type(middle.dtype, position.dtype), copy=False)
    # Halves go to the even position.
    choose = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}[method]
    return rows[..., choose(position).astype(np.intp)]
