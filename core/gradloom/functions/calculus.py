"""Traced counterparts of NumPy's differences, integrals and interpolation, written from ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.dispatch import implements
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import as_array, as_tensor, axis_index, axis_tuple, refuse_complex
from gradloom.functions.reduction import NoValue, cast, flat, given, tensor_among
from gradloom.trace import Handle, innermost

Tensor = Any

# -- differences ---------------------------------------------------------------------------


def _at(axis: int, *index: Any) -> tuple[Any, ...]:
    """Return the index that takes a slice of one axis."""
    return (slice(None),) * axis + (slice(*index),)


@implements(np.diff)
def np_diff(a: Any, n: int = 1, axis: Any = -1, prepend: Any = NoValue, append: Any = NoValue) -> Tensor:
    """Return n-th differences along an axis."""
    a = tensor_among(a, prepend, append)
    if n < 0:
        raise ArgumentError("n must not be negative", op="numpy.diff", argument="n", expected="n >= 0", got=n)
    if n == 0:
        return a
    if not a.ndim:
        raise ShapeError(
            "a 0-d array has no differences",
            op="numpy.diff",
            argument="a",
            expected="an axis",
            got=(),
            remedy="make it a row first (np.atleast_1d)",
        )
    axis = axis_index("numpy.diff", axis, a.ndim)
    ends = [_end(value, a, axis) if given(value) else None for value in (prepend, append)]
    parts = [part for part in (ends[0], a, ends[1]) if part is not None]
    if len(parts) > 1:
        a = np.concatenate(parts, axis=axis)
    for _ in range(n):
        upper, lower = a[_at(axis, 1, None)], a[_at(axis, None, -1)]
        a = upper != lower if a.dtype.kind == "b" else upper - lower
    return a


def _end(value: Any, a: Tensor, axis: int) -> Any:
    value = as_array(value)
    return np.broadcast_to(value, (*a.shape[:axis], 1, *a.shape[axis + 1 :])) if not value.ndim else value


@implements(np.ediff1d)
def np_ediff1d(ary: Any, to_end: Any = None, to_begin: Any = None) -> Tensor:
    """Return the differences of consecutive elements, with given ends."""
    a = tensor_among(ary, to_end, to_begin)
    begin, end = _fitting(to_begin, a, "to_begin"), _fitting(to_end, a, "to_end")
    return np.concatenate([*begin, np_diff(flat(a)), *end])


def _fitting(values: Any, a: Tensor, argument: str) -> list[Any]:
    """Return what is put before or behind differences of an array, which must be of a kind that its dtype holds."""
    if values is None:
        return []
    values = as_array(values)
    if not np.can_cast(values.dtype, a.dtype, "same_kind"):
        raise DTypeError(
            "the ends do not fit the differences",
            op="numpy.ediff1d",
            argument=argument,
            expected=f"a dtype that casts to {a.dtype} (same_kind)",
            got=values.dtype,
            remedy="convert the first argument (x.astype(...)), or the ends",
        )
    return [np.astype(np.ravel(values), a.dtype)]


@implements(np.gradient)
def np_gradient(f: Any, *varargs: Any, axis: Any = None, edge_order: int = 1) -> Any:
    """Return second-order central differences, one-sided at the ends."""
    f = tensor_among(f, *varargs)
    axes = axis_tuple("numpy.gradient", axis, f.ndim)
    if edge_order not in (1, 2):
        raise ArgumentError(
            "unknown edge_order", op="numpy.gradient", argument="edge_order", expected="1 or 2", got=edge_order
        )
    if len(varargs) not in (0, 1, len(axes)):
        raise ArgumentError(
            "wrong number of spacings",
            op="numpy.gradient",
            argument="varargs",
            expected=f"none, one, or {len(axes)}",
            got=len(varargs),
            remedy="give one distance for all axes, or one for each; axis= chooses the axes",
        )
    spacings = varargs if len(varargs) == len(axes) else (varargs or (1.0,)) * len(axes)
    if f.dtype.kind in "iub":
        f = np.astype(f, np.float64)
    slopes = [_slope(f, k, as_array(spacing), edge_order) for k, spacing in zip(axes, spacings, strict=True)]
    return slopes[0] if len(axes) == 1 else tuple(slopes)


def _slope(f: Tensor, axis: int, spacing: Any, edge_order: int) -> Tensor:
    n = f.shape[axis]
    if n < edge_order + 1:
        raise ShapeError(
            "too few elements",
            op="numpy.gradient",
            argument="f",
            expected=f"at least {edge_order + 1} along axis {axis}",
            got=f.shape,
            remedy="leave such an axis out with axis=; edge_order=1 needs 2 elements",
        )
    step = _steps(f, axis, spacing)

    def at(k: int) -> Any:
        return f[_at(axis, k, k + 1 or None)]

    def gap(k: int) -> Any:
        return step[k : k + 1 or None] if step.ndim else step

    inner = [_inner_slopes(f, axis, step)] if n > 2 else []
    if edge_order == 1:
        first, last = (at(1) - at(0)) / gap(0), (at(-1) - at(-2)) / gap(-1)
    else:
        first = _edge_slope(at(0), at(1), at(2), gap(0), gap(1))
        last = -_edge_slope(at(-1), at(-2), at(-3), gap(-1), gap(-2))
    return cast(np.concatenate([first, *inner, last], axis=axis), f.dtype)


def _steps(f: Tensor, axis: int, spacing: Any) -> Any:
    """Return the distance of neighbours: 0-d if it is known to be constant, else one each."""
    if not spacing.ndim:
        return spacing
    if spacing.ndim != 1 or spacing.shape[0] != f.shape[axis]:
        raise ShapeError(
            "coordinates do not fit",
            op="numpy.gradient",
            argument="varargs",
            expected=f"a number, or shape {(f.shape[axis],)}",
            got=spacing.shape,
            remedy="give the place of each point: of distances d, np.append(0.0, np.cumsum(d))",
        )
    steps = np.diff(np.astype(spacing, np.float64) if spacing.dtype.kind in "iub" else spacing)
    if not isinstance(steps, Handle) and (steps == steps[0]).all():
        return np.asarray(steps[0])
    return np.reshape(steps, (-1, *[1] * (f.ndim - 1 - axis)))


def _inner_slopes(f: Tensor, axis: int, step: Any) -> Tensor:
    before, here, after = f[_at(axis, None, -2)], f[_at(axis, 1, -1)], f[_at(axis, 2, None)]
    if not step.ndim:
        return (after - before) / (2.0 * step)
    # The parabola through three points, with distances p and q between them.
    p, q = step[:-1], step[1:]
    return -q / (p * (p + q)) * before + (q - p) / (p * q) * here + p / (q * (p + q)) * after


def _edge_slope(f0: Any, f1: Any, f2: Any, p: Any, q: Any) -> Any:
    """Return the slope at the first of three points, at distances p and q, of their parabola."""
    return -(2.0 * p + q) / (p * (p + q)) * f0 + (p + q) / (p * q) * f1 - p / (q * (p + q)) * f2


# -- integrals -----------------------------------------------------------------------------


@implements(np.trapezoid)
def np_trapezoid(y: Any, x: Any = None, dx: Any = 1.0, axis: Any = -1) -> Tensor:
    """Integrate along an axis with the trapezoidal rule."""
    y = tensor_among(y, x, dx)
    axis = axis_index("numpy.trapezoid", axis, y.ndim)
    step = dx
    if x is not None:
        x = as_array(x)
        step = np.diff(x) if x.ndim == 1 else np.diff(x, axis=axis)
        if x.ndim == 1:
            step = np.reshape(step, (-1, *[1] * (y.ndim - 1 - axis)))
    pairs = y[_at(axis, 1, None)] + y[_at(axis, None, -1)]
    total: Tensor = np.sum(step * pairs / 2.0, axis=axis)
    return total


# -- interpolation -------------------------------------------------------------------------


@implements(np.interp)
def np_interp(x: Any, xp: Any, fp: Any, left: Any = None, right: Any = None, period: Any = None) -> Tensor:
    """Interpolate linearly between points; at a point, the slope is that to its right."""
    x, xp, fp = as_array(x), as_array(xp), as_array(fp)
    if xp.ndim != 1 or xp.shape != fp.shape or not xp.size:
        raise ShapeError(
            "points do not fit",
            op="numpy.interp",
            argument="fp",
            expected="xp and fp of one shape (n,), n > 0",
            got=(xp.shape, fp.shape),
        )
    refuse_complex("numpy.interp", "x", x)
    refuse_complex("numpy.interp", "xp", xp)
    trace = innermost((x, xp, fp))
    x, xp = (cast(as_tensor(v, trace), np.float64) for v in (x, xp))
    fp = cast(as_tensor(fp, trace), np.result_type(fp.dtype, np.float64))
    if period is not None:
        x, xp, fp = _periodic(x, xp, fp, period)
        left = right = None
    first = fp[0] if left is None else left
    last = fp[-1] if right is None else right
    if xp.size == 1:
        inside = fp[0] + 0.0 * x
    else:
        k = np.clip(np.searchsorted(xp, x, side="right") - 1, 0, xp.size - 2)
        x0, f0 = np.take(xp, k), np.take(fp, k)
        slope = (np.take(fp, k + 1) - f0) / (np.take(xp, k + 1) - x0)
        inside = slope * (x - x0) + f0
    inside = np.where(x == xp[-1], fp[-1], inside)
    result: Tensor = np.where(x < xp[0], first, np.where(x > xp[-1], last, inside))
    return result


def _periodic(x: Any, xp: Any, fp: Any, period: Any) -> tuple[Any, Any, Any]:
    """Return points in one period, with one more on either side."""
    if not isinstance(period, Handle):
        if period == 0:
            raise ArgumentError(
                "the period must not be 0",
                op="numpy.interp",
                argument="period",
                expected="a number other than 0, or None",
                got=period,
                remedy="leave period out for data that do not repeat",
            )
        period = abs(period)
    x, xp = x % period, xp % period
    order = np.argsort(xp)
    xp, fp = np.take(xp, order), np.take(fp, order)
    xp = np.concatenate([xp[-1:] - period, xp, xp[:1] + period])
    return x, xp, np.concatenate([fp[-1:], fp, fp[:1]])
