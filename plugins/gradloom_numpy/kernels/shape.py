"""Kernels of the shape ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.memory import LEAST, empty


def reshape(*, shape: tuple[int, ...]) -> Kernel:
    """Return the kernel that reshapes to a fixed shape."""
    return operator.methodcaller("reshape", shape)


def broadcast_to(*, shape: tuple[int, ...]) -> Kernel:
    """Return the kernel that broadcasts to a fixed shape without copying."""
    strides = (0,) * len(shape)

    def kernel(x: Any) -> Any:
        if x.ndim:
            return np.broadcast_to(x, shape)
        # The same read-only view, five times faster: seeds of cotangents come through here.
        return np.ndarray(shape, x.dtype, x.data, 0, strides)

    return kernel


def transpose(*, axes: tuple[int, ...]) -> Kernel:
    """Return the kernel that permutes axes."""
    return operator.methodcaller("transpose", axes)


def concatenate(*arrays: Any, axis: int) -> Any:
    """Join arrays along an axis."""
    first = arrays[0]
    if first.nbytes * len(arrays) < LEAST:
        return np.concatenate(arrays, axis)
    shape = (*first.shape[:axis], sum([x.shape[axis] for x in arrays]), *first.shape[axis + 1 :])
    return np.concatenate(arrays, axis, out=empty(shape, np.result_type(*[x.dtype for x in arrays])))


def flip(*, axis: tuple[int, ...]) -> Kernel:
    """Return the kernel that reverses some axes."""
    index = tuple([slice(None, None, -1) if k in axis else slice(None) for k in range(max(axis, default=-1) + 1)])
    return operator.itemgetter((*index, ...))


def iota(*, length: int, dtype: Any) -> Any:
    """Return ``0, 1, ..., length - 1``."""
    return np.arange(length, dtype=dtype)


KERNELS: dict[str, Kernel | Specialised] = {
    "reshape": Specialised(reshape),
    "broadcast_to": Specialised(broadcast_to),
    "transpose": Specialised(transpose),
    "concatenate": concatenate,
    "flip": Specialised(flip),
    "iota": iota,
}
