"""Kernels that read and add along one axis."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom_numpy.kernels import indexing

Array = np.ndarray[Any, Any]

#: Elements up to which the numbers of rows are kept: to make them would take longer than to read.
FEW = 4096


def take_along_axis(*, axis: int, unique: bool) -> Kernel:
    """Return the kernel that reads each row at places of its own."""

    def kernel(x: Array, indices: Array) -> Any:
        return x[_places(indices, axis)]

    return kernel


def add_along_axis(*, axis: int, unique: bool) -> Kernel:
    """Return the kernel that adds to each row at places of its own."""
    kernels: dict[int, Kernel] = {}

    def kernel(x: Array, v: Array, indices: Array, donate: bool = False) -> Any:
        add = kernels.get(x.ndim)
        if add is None:
            add = kernels[x.ndim] = indexing.index_add(index=("array",) * x.ndim, unique=unique)
        return add(x, v, *_places(indices, axis), donate=donate)

    return kernel


def _places(indices: Array, axis: int) -> tuple[Array, ...]:
    """Return index arrays for all axes."""
    rows = (_kept_rows if indices.size <= FEW else _rows)(indices.shape)
    return *rows[:axis], indices, *rows[axis + 1 :]


def _rows(shape: tuple[int, ...]) -> tuple[Array, ...]:
    """Return the numbers of the rows along each axis of a shape."""
    return tuple([np.arange(n).reshape((n, *(1,) * (len(shape) - 1 - k))) for k, n in enumerate(shape)])


_kept_rows = lru_cache(maxsize=256)(_rows)


KERNELS: dict[str, Kernel | Specialised] = {
    "take_along_axis": Specialised(take_along_axis),
    "add_along_axis": Specialised(add_along_axis),
}
