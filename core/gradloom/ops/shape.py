"""Ops that change shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.spec import Spec

Tensor = Any


def reshape_spec(x: Spec, *, shape: tuple[int, ...]) -> Spec:
    out = Spec(shape, x.dtype)
    if out.size != x.size:
        raise ShapeError("cannot reshape", expected=f"a shape of {x.size} elements", got=shape)
    return out


def reshape_transpose(cotangent: Tensor, x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return reshape(cotangent, shape=x.shape)


reshape = define(
    "reshape", spec=reshape_spec, transpose=(reshape_transpose,), shape_attrs=("shape",), view=True
)


def broadcast_to_spec(x: Spec, *, shape: tuple[int, ...]) -> Spec:
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError("cannot broadcast", expected=f"a shape that {x.shape} broadcasts to", got=shape)
    return Spec(shape, x.dtype)


def broadcast_to_transpose(cotangent: Tensor, x: Tensor, *, shape: tuple[int, ...]) -> Tensor:
    return unbroadcast(cotangent, x.spec)


broadcast_to = define("broadcast_to", spec=broadcast_to_spec, transpose=(broadcast_to_transpose,), view=True)
