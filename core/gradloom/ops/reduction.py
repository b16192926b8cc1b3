"""Reductions: the attr ``axis`` is a tuple of non-negative ints."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gradloom.autodiff import ones
from gradloom.axes import Axes, Combine, reduction_axes
from gradloom.errors import ShapeError
from gradloom.op import Op, Rule, define, ops
from gradloom.ops.arithmetic import annihilating_multiply
from gradloom.ops.cast import astype
from gradloom.ops.selection import where
from gradloom.ops.shape import broadcast_to, checked_axes, reshape
from gradloom.spec import Spec

Tensor = Any
AxisTuple = tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], axis: AxisTuple, keepdims: bool) -> tuple[int, ...]:
    """Return a shape without some axes, or with length 1 there."""
    if keepdims:
        return tuple([1 if k in axis else n for k, n in enumerate(shape)])
    return tuple([n for k, n in enumerate(shape) if k not in axis])


def expanded(reduced: Tensor, x: Tensor, axis: AxisTuple, keepdims: bool) -> Tensor:
    """Return what a reduction of ``x`` gave in a shape that broadcasts against ``x``."""
    if keepdims or not reduced.shape:
        return reduced
    return reshape(reduced, shape=reduced_shape(x.shape, axis, True))


def checked_nonempty(x: Spec, axis: AxisTuple, out: Spec) -> None:
    """Raise where a reduction without identity has nothing to reduce."""
    if out.size and not x.size:
        raise ShapeError(
            "a reduction of zero elements has no identity",
            argument="axis",
            expected="at least one element along the reduced axes",
            got=f"shape {x.shape}, axis {axis}",
            remedy="pass initial=, or leave out empty arrays",
        )


@lru_cache(maxsize=256)
def _reduced_dtype(ufunc: np.ufunc, dtype: np.dtype[Any]) -> np.dtype[Any]:
    found: np.dtype[Any] = ufunc.reduce(np.ones(1, dtype)).dtype
    return found


def reduction(name: str, ufunc: np.ufunc, combine: Combine, **rules: Any) -> Op:
    """Define the op ``ufunc.reduce``."""

    def spec(x: Spec, *, axis: AxisTuple, keepdims: bool = False) -> Spec:
        checked_axes(axis, x.ndim)
        out = Spec(reduced_shape(x.shape, axis, keepdims), _reduced_dtype(ufunc, x.dtype))
        if ufunc.identity is None:
            checked_nonempty(x, axis, out)
        return out

    return define(name, spec=spec, axes=reduction_axes(combine), axis_attrs=("axis",), **rules)


# -- sum -----------------------------------------------------------------------------------


def sum_transpose(cotangent: Tensor, x: Tensor, *, axis: AxisTuple, keepdims: bool) -> Tensor:
    return broadcast_to(expanded(cotangent, x, axis, keepdims), shape=x.shape)


sum = reduction("sum", np.add, "add", transpose=(sum_transpose,))


# -- prod ----------------------------------------------------------------------------------


def other_factors(x: Tensor, axis: AxisTuple) -> Tensor:
    """Return, for each element, the product of all other elements along some axes.

    Along one axis these are the products before and after it, which is exact also where
    factors are zero; no element is divided by. Over several axes, the others along the last
    axis times, for their product, the others along the axes before.
    """
    if not axis:
        return ones(x._trace, x.spec)
    cumprod = ops["cumprod"]
    *first, last = axis
    before = cumprod(x, axis=last, exclusive=True, reverse=False)
    after = cumprod(x, axis=last, exclusive=True, reverse=True)
    others = before * after
    return others * other_factors(prod(x, axis=(last,), keepdims=True), tuple(first)) if first else others


def prod_pushforward(tangent: Tensor, out: Tensor, x: Tensor, *, axis: AxisTuple, keepdims: bool) -> Tensor:
    # d prod(x) = sum_k dx_k prod_{j != k} x_j
    return sum(annihilating_multiply(tangent, other_factors(x, axis)), axis=axis, keepdims=keepdims)


prod = reduction("prod", np.multiply, "multiply", pushforward=(prod_pushforward,))


# -- max, min ------------------------------------------------------------------------------


def extremum_pushforward(tangent: Tensor, out: Tensor, x: Tensor, *, axis: AxisTuple, keepdims: bool) -> Tensor:
    # The mean of the tangents of all elements that attain the extremum; NaN attains it.
    attained = (x == expanded(out, x, axis, keepdims)) | (x != x)
    count = astype(sum(attained, axis=axis, keepdims=keepdims), dtype=x.dtype)
    return sum(where(attained, tangent, 0.0), axis=axis, keepdims=keepdims) / count


max = reduction("max", np.maximum, "max", pushforward=(extremum_pushforward,))
min = reduction("min", np.minimum, "min", pushforward=(extremum_pushforward,))


# -- any, all ------------------------------------------------------------------------------

any = reduction("any", np.logical_or, "any", zero_derivative=True)
all = reduction("all", np.logical_and, "all", zero_derivative=True)


# -- argmax, argmin: one axis --------------------------------------------------------------


def position_spec(x: Spec, *, axis: int, keepdims: bool = False) -> Spec:
    checked_axes((axis,), x.ndim)
    if not x.shape[axis]:
        raise ShapeError(
            "no element to point at",
            argument="axis",
            expected="at least one element along the axis",
            got=f"shape {x.shape}, axis {axis}",
        )
    return Spec(reduced_shape(x.shape, (axis,), keepdims), np.intp)


def position_axes(x: Spec, *, axis: int, keepdims: bool = False) -> Axes:
    labels = tuple([None if k == axis else k for k in range(x.ndim)])
    return Axes((labels,), tuple([label for k, label in enumerate(labels) if keepdims or k != axis]))


def _position(name: str) -> Op:
    spec: Rule = position_spec
    return define(name, spec=spec, zero_derivative=True, axes=position_axes, axis_attrs=("axis",))


#: Index of the first maximum (or NaN) along one axis.
argmax = _position("argmax")
#: Index of the first minimum (or NaN) along one axis.
argmin = _position("argmin")
