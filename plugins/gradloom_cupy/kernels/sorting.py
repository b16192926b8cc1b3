"""Kernels of the sorting ops; CuPy's sorts are stable."""

from __future__ import annotations

from functools import partial
from typing import Any

import cupy
import numpy as np

from gradloom.backend import Kernel, Specialised


def sort(*, axis: int) -> Kernel:
    """Return the kernel that sorts along a fixed axis."""
    return partial(cupy.sort, axis=axis)


def argsort(*, axis: int) -> Kernel:
    """Return the kernel that finds the sorting permutation along a fixed axis."""
    return partial(cupy.argsort, axis=axis)


def searchsorted(a: Any, v: Any, *, side: Any) -> Any:
    """Search one sorted row, or one for each row of ``v``."""
    if a.ndim == 1:
        return cupy.searchsorted(a, v, side)
    rows = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    a = cupy.broadcast_to(a, (*rows, a.shape[-1]))
    v = cupy.broadcast_to(v, (*rows, v.shape[-1]))
    out = cupy.empty(v.shape, np.intp)
    for row in np.ndindex(rows):
        out[row] = cupy.searchsorted(a[row], v[row], side)
    return out


KERNELS: dict[str, Kernel | Specialised] = {
    "sort": Specialised(sort),
    "argsort": Specialised(argsort),
    "searchsorted": searchsorted,
}
