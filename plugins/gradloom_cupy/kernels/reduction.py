"""Kernels of the reduction ops."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised


def reduction(function: Callable[..., Any]) -> Specialised:
    """Return the kernel that reduces fixed axes with a function."""

    def factory(*, axis: tuple[int, ...], keepdims: bool) -> Kernel:
        if not axis:
            # Over no axes, a reduction still casts: that of a new axis of length 1 does.
            return lambda x: function(x[None], axis=0)
        return partial(function, axis=axis, keepdims=keepdims)

    return Specialised(factory)


def argmax(*, axis: int, keepdims: bool) -> Kernel:
    """Return the kernel that finds the maximum along a fixed axis."""
    return partial(cupy.argmax, axis=axis, keepdims=keepdims)


def argmin(*, axis: int, keepdims: bool) -> Kernel:
    """Return the kernel that finds the minimum along a fixed axis."""
    return partial(cupy.argmin, axis=axis, keepdims=keepdims)


KERNELS: dict[str, Kernel | Specialised] = {
    "sum": reduction(cupy.sum),
    "prod": reduction(cupy.prod),
    "max": reduction(cupy.max),
    "min": reduction(cupy.min),
    "any": reduction(cupy.any),
    "all": reduction(cupy.all),
    "argmax": Specialised(argmax),
    "argmin": Specialised(argmin),
}
