"""Kernels of the sorting ops."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised

Array = np.ndarray[Any, Any]


def sort(*, axis: int) -> Kernel:
    """Return the kernel that sorts along a fixed axis."""
    return partial(np.sort, axis=axis, stable=True)


def argsort(*, axis: int) -> Kernel:
    """Return the kernel that finds the sorting permutation along a fixed axis."""
    return partial(np.argsort, axis=axis, stable=True)


def searchsorted(a: Array, v: Array, *, side: Any) -> Any:
    """Search one sorted row, or one for each row of ``v``."""
    if a.ndim == 1:
        return np.searchsorted(a, v, side)
    rows = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    a = np.broadcast_to(a, (*rows, a.shape[-1]))
    v = np.broadcast_to(v, (*rows, v.shape[-1]))
    out = np.empty(v.shape, np.intp)
    for row in np.ndindex(rows):
        out[row] = np.searchsorted(a[row], v[row], side)
    return out


KERNELS: dict[str, Kernel | Specialised] = {
    "sort": Specialised(sort),
    "argsort": Specialised(argsort),
    "searchsorted": searchsorted,
}
