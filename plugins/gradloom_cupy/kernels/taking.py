"""Kernels that read and add along one axis."""

from __future__ import annotations

from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised
from gradloom_cupy.kernels import indexing


def take_along_axis(*, axis: int, unique: bool) -> Kernel:
    """Return the kernel that reads each row at places of its own."""

    def kernel(x: Any, indices: Any) -> Any:
        return x[_places(indices, axis)]

    return kernel


def add_along_axis(*, axis: int, unique: bool) -> Kernel:
    """Return the kernel that adds to each row at places of its own."""

    def kernel(x: Any, v: Any, indices: Any, donate: bool = False) -> Any:
        add = indexing.index_add(index=("array",) * x.ndim, unique=unique)
        return add(x, v, *_places(indices, axis), donate=donate)

    return kernel


def _places(indices: Any, axis: int) -> tuple[Any, ...]:
    """Return index arrays for all axes."""
    shape = indices.shape
    rows = [cupy.arange(n).reshape((n, *(1,) * (len(shape) - 1 - k))) for k, n in enumerate(shape)]
    return *rows[:axis], indices, *rows[axis + 1 :]


KERNELS: dict[str, Kernel | Specialised] = {
    "take_along_axis": Specialised(take_along_axis),
    "add_along_axis": Specialised(add_along_axis),
}
