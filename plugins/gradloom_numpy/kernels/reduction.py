"""Kernels of the reduction ops."""

from __future__ import annotations

from functools import partial

import numpy as np

from gradloom.backend import Kernel, Specialised


def reduction(ufunc: np.ufunc) -> Specialised:
    """Return the kernel that reduces fixed axes with a ufunc."""

    def factory(*, axis: tuple[int, ...], keepdims: bool) -> Kernel:
        if axis == (0,) and not keepdims:
            return ufunc.reduce  # what it does without keywords, which cost as much as a short sum
        return partial(ufunc.reduce, axis=axis, keepdims=keepdims)

    return Specialised(factory)


def argmax(*, axis: int, keepdims: bool) -> Kernel:
    """Return the kernel that finds the maximum along a fixed axis."""
    return partial(np.argmax, axis=axis, keepdims=keepdims)


def argmin(*, axis: int, keepdims: bool) -> Kernel:
    """Return the kernel that finds the minimum along a fixed axis."""
    return partial(np.argmin, axis=axis, keepdims=keepdims)


KERNELS: dict[str, Kernel | Specialised] = {
    "sum": reduction(np.add),
    "prod": reduction(np.multiply),
    "max": reduction(np.maximum),
    "min": reduction(np.minimum),
    "any": reduction(np.logical_or),
    "all": reduction(np.logical_and),
    "argmax": Specialised(argmax),
    "argmin": Specialised(argmin),
}
