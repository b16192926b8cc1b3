"""Sorting and searching."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.axes import along_axis
from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.ops._elementwise import broadcast_shape
from gradloom.ops.shape import checked_axes
from gradloom.ops.taking import take_along_axis
from gradloom.spec import Spec

Tensor = Any


def sort_spec(x: Spec, *, axis: int) -> Spec:
    checked_axes((axis,), x.ndim)
    return x


def sort_pushforward(tangent: Tensor, out: Tensor, x: Tensor, *, axis: int) -> Tensor:
    return take_along_axis(tangent, argsort(x, axis=axis), axis=axis, unique=True)


#: Stable sort along one axis, NaN last.
sort = define("sort", spec=sort_spec, pushforward=(sort_pushforward,), axes=along_axis, axis_attrs=("axis",))


def argsort_spec(x: Spec, *, axis: int) -> Spec:
    checked_axes((axis,), x.ndim)
    return x.with_dtype(np.intp)


#: The permutation that sorts along one axis, stable.
argsort = define("argsort", spec=argsort_spec, zero_derivative=True, axes=along_axis, axis_attrs=("axis",))


def searchsorted_spec(a: Spec, v: Spec, *, side: str = "left") -> Spec:
    if not a.ndim or not v.ndim:
        raise ShapeError(
            "0-d arguments",
            argument="a, v",
            expected="rows along the last axes of a and v",
            got=(a.shape, v.shape),
            remedy="use np.atleast_1d",
        )
    rows = broadcast_shape("searchsorted", a.shape[:-1], v.shape[:-1])
    return Spec((*rows, v.shape[-1]), np.intp)


#: Where each element of ``v`` would be inserted into the sorted last axis of ``a``.
searchsorted = define("searchsorted", spec=searchsorted_spec, zero_derivative=True, axes="...N,...m->...m")
