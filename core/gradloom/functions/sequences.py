"""Traced counterparts of NumPy's functions on sequences: convolution, windows, functions along an axis."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions._arguments import as_array, axis_index
from gradloom.functions.contraction import conjugated
from gradloom.functions.reduction import tensor_among
from gradloom.ops.convolution import convolve

Tensor = Any


# -- convolution ---------------------------------------------------------------------------


@implements(np.convolve)
def np_convolve(a: Any, v: Any, mode: Any = "full") -> Tensor:
    """Convolve two sequences."""
    a, v = _row("numpy.convolve", a, "a"), _row("numpy.convolve", v, "v")
    if a.size < v.size:
        a, v = v, a
    return _part("numpy.convolve", convolve(a, v, full=mode != "valid"), v.size - 1 - v.size // 2, a.size, mode)


@implements(np.correlate)
def np_correlate(a: Any, v: Any, mode: Any = "valid") -> Tensor:
    """Return the products of one sequence with the shifted conjugate of another."""
    a, v = _row("numpy.correlate", a, "a"), _row("numpy.correlate", v, "v")
    short = min(a.size, v.size)
    start = short - 1 - short // 2 if a.size >= v.size else short // 2
    size = max(a.size, v.size)
    flipped = conjugated(v[::-1])
    if a.size < v.size:
        a, flipped = flipped, a
    return _part("numpy.correlate", convolve(a, flipped, full=mode != "valid"), start, size, mode)


def _row(op: str, value: Any, argument: str) -> Any:
    x = as_array(value)
    x = x if x.ndim else x[None]
    if x.ndim != 1 or not x.size:
        raise ShapeError(
            "not a sequence",
            op=op,
            argument=argument,
            expected="a 1-d array, not empty",
            got=x.shape,
            remedy=f"make one row of it (np.ravel), or map over several: gl.vmap({op}, in_axes=(0, None))",
        )
    return x


def _part(op: str, result: Tensor, start: int, size: int, mode: Any) -> Tensor:
    if mode not in ("full", "same", "valid"):
        raise ArgumentError(
            "no such mode", op=op, argument="mode", expected="'full', 'same' or 'valid'", got=repr(mode)
        )
    return result[start : start + size] if mode == "same" else result


# -- windows -------------------------------------------------------------------------------


@implements(np.lib.stride_tricks.sliding_window_view)
def np_sliding_window_view(
    x: Tensor, window_shape: Any, axis: Any = None, *, subok: bool = False, writeable: bool = False
) -> Tensor:
    """Return every window of a shape, in new last axes."""
    name = "numpy.lib.stride_tricks.sliding_window_view"
    refuse(name, subok=(subok, False), writeable=(writeable, False))
    lengths = [operator.index(n) for n in (window_shape if np.iterable(window_shape) else (window_shape,))]
    axes = range(x.ndim) if axis is None else (axis if isinstance(axis, (tuple, list)) else (axis,))
    axes = [axis_index(name, k, x.ndim) for k in axes]
    if len(axes) != len(lengths):
        raise ShapeError(
            "windows and axes differ in number",
            op=name,
            argument="window_shape",
            expected=f"{len(axes)} lengths for the axes {tuple(axes)}",
            got=tuple(lengths),
            remedy="name as many axes with axis=",
        )
    out = x
    for k, n in zip(axes, lengths, strict=True):
        count = out.shape[k] - n + 1
        if n < 0 or count < 1:
            raise ShapeError(
                "window shape cannot be larger than input array shape",
                op=name,
                argument="window_shape",
                expected=f"0 to {out.shape[k]} along axis {k}",
                got=n,
            )
        out = np.moveaxis(np.take(out, np.arange(count)[:, None] + np.arange(n), axis=k), k + 1, -1)
    return x._note_view(out, None)


# -- along an axis -------------------------------------------------------------------------


@implements(np.apply_along_axis)
def np_apply_along_axis(func1d: Any, axis: Any, arr: Any, *args: Any, **kwargs: Any) -> Tensor:
    """Call a function on every row along an axis, and join what it returns in its place."""
    arr = tensor_among(arr, *args)
    axis = axis_index("numpy.apply_along_axis", axis, arr.ndim)
    last = np.moveaxis(arr, axis, -1)
    rows = last.shape[:-1]
    if 0 in rows:
        raise ShapeError(
            "Cannot apply_along_axis when any iteration dimensions are 0",
            op="numpy.apply_along_axis",
            argument="arr",
            expected="at least one row",
            got=arr.shape,
        )
    results = [as_array(func1d(last[row], *args, **kwargs)) for row in np.ndindex(rows)]
    joined = np.reshape(np.stack(results), rows + results[0].shape)
    new = tuple(range(len(rows), joined.ndim))
    return np.moveaxis(joined, new, tuple(range(axis, axis + len(new))))


@implements(np.apply_over_axes)
def np_apply_over_axes(func: Any, a: Any, axes: Any) -> Tensor:
    """Call a reduction along one axis after the other, and keep their number."""
    ndim = a.ndim
    for k in axes if np.iterable(axes) else (axes,):
        axis = axis_index("numpy.apply_over_axes", k, ndim, "axes")
        result = func(a, axis)
        a = result if result.ndim == ndim else np.expand_dims(result, axis)
        if a.ndim != ndim:
            raise ShapeError(
                "function is not returning an array of the correct shape",
                op="numpy.apply_over_axes",
                argument="func",
                expected=f"a result of {ndim} or {ndim - 1} axes",
                got=result.shape,
                remedy="let func keep the axis, as with keepdims=True, or drop it",
            )
    return a
