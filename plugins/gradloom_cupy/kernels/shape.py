"""Kernels of the shape ops."""

from __future__ import annotations

import operator
from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised


def reshape(*, shape: tuple[int, ...]) -> Kernel:
    """Return the kernel that reshapes to a fixed shape."""
    return operator.methodcaller("reshape", shape)


def broadcast_to(x: Any, *, shape: tuple[int, ...]) -> Any:
    """Broadcast without copying."""
    return cupy.broadcast_to(x, shape)


def transpose(*, axes: tuple[int, ...]) -> Kernel:
    """Return the kernel that permutes axes."""
    return operator.methodcaller("transpose", axes)


def concatenate(*arrays: Any, axis: int) -> Any:
    """Join arrays along an axis."""
    return cupy.concatenate(arrays, axis)


def flip(*, axis: tuple[int, ...]) -> Kernel:
    """Return the kernel that reverses some axes."""
    index = tuple([slice(None, None, -1) if k in axis else slice(None) for k in range(max(axis, default=-1) + 1)])
    return operator.itemgetter((*index, ...))


def iota(*, length: int, dtype: Any) -> Any:
    """Return ``0, 1, ..., length - 1``."""
    return cupy.arange(length, dtype=dtype)


KERNELS: dict[str, Kernel | Specialised] = {
    "reshape": Specialised(reshape),
    "broadcast_to": broadcast_to,
    "transpose": Specialised(transpose),
    "concatenate": concatenate,
    "flip": Specialised(flip),
    "iota": iota,
}
