"""Kernels of the cumulative ops."""

from __future__ import annotations

from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised
from gradloom_cupy.kernels.arithmetic import annihilating_multiply


def cumsum(x: Any, *, axis: int, reverse: bool) -> Any:
    """Add up along an axis, from either end."""
    if reverse:
        return cupy.flip(cupy.cumsum(cupy.flip(x, axis), axis), axis)
    return cupy.cumsum(x, axis)


def cumprod(x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
    """Multiply up along an axis, from either end, with or without the element itself."""
    if reverse:
        return cupy.flip(cumprod(cupy.flip(x, axis), axis=axis, exclusive=exclusive, reverse=False), axis)
    if not exclusive:
        return cupy.cumprod(x, axis)
    before = (slice(None),) * axis
    products = cupy.cumprod(x, axis)
    out = cupy.ones(x.shape, products.dtype)
    out[(*before, slice(1, None))] = products[(*before, slice(None, -1))]
    return out


def linear_recurrence(a: Any, b: Any, *, axis: int, reverse: bool) -> Any:
    """Solve ``z[0] = 0, z[i+1] = a[i] z[i] + b[i]`` along an axis, from either end.

    One small kernel per step, so long axes are slow; rows run in parallel.
    """
    out = cupy.zeros(a.shape, a.dtype)
    rows = [cupy.moveaxis(x, axis, 0)[:: -1 if reverse else 1] for x in (a, b, out)]
    factor, term, z = rows
    for i in range(z.shape[0] - 1):
        z[i + 1] = annihilating_multiply(z[i], factor[i]) + term[i]
    return out


KERNELS: dict[str, Kernel | Specialised] = {
    "cumsum": cumsum,
    "cumprod": cumprod,
    "linear_recurrence": linear_recurrence,
}
