"""Ops that choose among values."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.op import define
from gradloom.ops._elementwise import broadcast_shape, elementwise, result_dtype
from gradloom.spec import Spec, real_dtype

Tensor = Any


def where_promote(condition: Spec, x: Spec, y: Spec) -> tuple[Any, ...]:
    dtype = result_dtype("where", x, y)
    return np.dtype(bool), dtype, dtype


def where_spec(condition: Spec, x: Spec, y: Spec) -> Spec:
    return Spec(broadcast_shape("where", condition.shape, x.shape, y.shape), x.dtype)


def where_transpose_x(cotangent: Tensor, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return unbroadcast(where(condition, cotangent, 0.0), x.spec)


def where_transpose_y(cotangent: Tensor, condition: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return unbroadcast(where(condition, 0.0, cotangent), y.spec)


where = define(
    "where",
    spec=where_spec,
    promote=where_promote,
    transpose=(None, where_transpose_x, where_transpose_y),
    linear="jointly",
    elementwise=True,
)


# The larger of two: the derivative goes to the larger, half to each at a tie.
def maximum_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return where(x == y, 0.5, (x > y).astype(real_dtype(out.dtype)))


def maximum_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return where(x == y, 0.5, (x < y).astype(real_dtype(out.dtype)))


maximum = elementwise("maximum", np.maximum, maximum_partial_x, maximum_partial_y)
minimum = elementwise("minimum", np.minimum, maximum_partial_y, maximum_partial_x)


# fmax and fmin take the other argument where one is NaN, the first where both are.
def fmax_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return where(x == y, 0.5, ((x > y) | np.isnan(y)).astype(real_dtype(out.dtype)))


def fmax_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return where(x == y, 0.5, ((x < y) | (np.isnan(x) & (y == y))).astype(real_dtype(out.dtype)))


def fmin_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return where(x == y, 0.5, ((x < y) | np.isnan(y)).astype(real_dtype(out.dtype)))


def fmin_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return where(x == y, 0.5, ((x > y) | (np.isnan(x) & (y == y))).astype(real_dtype(out.dtype)))


fmax = elementwise("fmax", np.fmax, fmax_partial_x, fmax_partial_y)
fmin = elementwise("fmin", np.fmin, fmin_partial_x, fmin_partial_y)
