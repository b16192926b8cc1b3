"""Cumulative sums and products, and the linear recurrence that products differentiate to."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.axes import Axes, along_axis
from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.ops.arithmetic import annihilating_multiply
from gradloom.ops.shape import checked_axes
from gradloom.spec import Spec

Tensor = Any


# -- cumsum --------------------------------------------------------------------------------


def cumsum_spec(x: Spec, *, axis: int, reverse: bool = False) -> Spec:
    checked_axes((axis,), x.ndim)
    return x.with_dtype(np.add.accumulate(np.ones(1, x.dtype)).dtype)


def cumsum_transpose(cotangent: Tensor, x: Tensor, *, axis: int, reverse: bool) -> Tensor:
    return cumsum(cotangent, axis=axis, reverse=not reverse)


#: Sums of all elements up to each along one axis; with ``reverse``, from each to the last.
cumsum = define("cumsum", spec=cumsum_spec, transpose=(cumsum_transpose,), axes=along_axis, axis_attrs=("axis",))


# -- cumprod -------------------------------------------------------------------------------


def cumprod_spec(x: Spec, *, axis: int, exclusive: bool = False, reverse: bool = False) -> Spec:
    checked_axes((axis,), x.ndim)
    return x.with_dtype(np.multiply.accumulate(np.ones(1, x.dtype)).dtype)


def cumprod_pushforward(
    tangent: Tensor, out: Tensor, x: Tensor, *, axis: int, exclusive: bool, reverse: bool
) -> Tensor:
    # The product e_i of all elements before i obeys e_{i+1} = x_i e_i, so
    #   de_{i+1} = x_i de_i + e_i dx_i,
    # a linear recurrence; no element is divided by. With the element itself, y_i = e_i x_i and
    # dy_i = x_i de_i + e_i dx_i.
    before = out if exclusive else cumprod(x, axis=axis, exclusive=True, reverse=reverse)
    step = annihilating_multiply(tangent, before)
    change = linear_recurrence(x, step, axis=axis, reverse=reverse)
    return change if exclusive else annihilating_multiply(change, x) + step


#: Products of all elements up to each along one axis: without the element itself if
#: ``exclusive`` (the first is 1); from the last element backward if ``reverse``.
cumprod = define(
    "cumprod", spec=cumprod_spec, pushforward=(cumprod_pushforward,), axes=along_axis, axis_attrs=("axis",)
)


# -- linear_recurrence ---------------------------------------------------------------------


def linear_recurrence_promote(a: Spec, b: Spec) -> tuple[np.dtype[Any], ...]:
    return (np.result_type(a.dtype, b.dtype),) * 2


def linear_recurrence_spec(a: Spec, b: Spec, *, axis: int, reverse: bool = False) -> Spec:
    checked_axes((axis,), a.ndim)
    if a.shape != b.shape:
        raise ShapeError("shapes differ", argument="b", expected=f"the shape {a.shape} of a", got=b.shape)
    return b


def linear_recurrence_pushforward_a(
    tangent: Tensor, out: Tensor, a: Tensor, b: Tensor, *, axis: int, reverse: bool
) -> Tensor:
    # dz_{i+1} = a_i dz_i + z_i da_i
    return linear_recurrence(a, annihilating_multiply(tangent, out), axis=axis, reverse=reverse)


def linear_recurrence_transpose_b(cotangent: Tensor, a: Tensor, b: Tensor, *, axis: int, reverse: bool) -> Tensor:
    # z_i is the sum over k < i of b_k times all a_j with k < j < i. Its transpose sums over
    # i > k instead: the same recurrence from the other end.
    return linear_recurrence(a, cotangent, axis=axis, reverse=not reverse)


def linear_recurrence_axes(a: Spec, b: Spec, *, axis: int, reverse: bool = False) -> Axes:
    labels = along_axis(a, axis=axis).output
    return Axes((labels, labels), labels)


#: ``z`` with ``z[0] = 0`` and ``z[i+1] = a[i] z[i] + b[i]`` along one axis, or from the last
#: element backward if ``reverse``. Where ``z[i]`` is zero, the first term is zero.
linear_recurrence = define(
    "linear_recurrence",
    spec=linear_recurrence_spec,
    promote=linear_recurrence_promote,
    pushforward=(linear_recurrence_pushforward_a, None),
    transpose=(None, linear_recurrence_transpose_b),
    axes=linear_recurrence_axes,
    axis_attrs=("axis",),
)
