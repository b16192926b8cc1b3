"""Reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.axes import reduction_axes
from gradloom.op import define
from gradloom.ops.shape import broadcast_to, reshape
from gradloom.spec import Spec

Tensor = Any
Axes = tuple[int, ...]


def reduced_shape(shape: tuple[int, ...], axis: Axes, keepdims: bool) -> tuple[int, ...]:
    """Return a shape without some axes, or with length 1 there."""
    if keepdims:
        return tuple([1 if k in axis else n for k, n in enumerate(shape)])
    return tuple([n for k, n in enumerate(shape) if k not in axis])


def sum_spec(x: Spec, *, axis: Axes, keepdims: bool = False) -> Spec:
    return Spec(reduced_shape(x.shape, axis, keepdims), np.add.reduce(np.empty(1, x.dtype)).dtype)


def sum_transpose(cotangent: Tensor, x: Tensor, *, axis: Axes, keepdims: bool) -> Tensor:
    if not keepdims and cotangent.shape:
        cotangent = reshape(cotangent, shape=reduced_shape(x.shape, axis, True))
    return broadcast_to(cotangent, shape=x.shape)


sum = define(
    "sum", spec=sum_spec, transpose=(sum_transpose,), axes=reduction_axes("add"), axis_attrs=("axis",)
)
