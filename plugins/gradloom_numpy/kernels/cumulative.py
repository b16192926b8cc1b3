"""Kernels of the cumulative ops."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom_numpy.kernels.arithmetic import annihilating_multiply

Array = np.ndarray[Any, Any]
#: With this many rows or fewer, a recurrence runs on Python numbers, element by element.
FEW_ROWS = 4


def cumsum(x: Array, *, axis: int, reverse: bool) -> Any:
    """Add up along an axis, from either end."""
    if reverse:
        return np.flip(np.add.accumulate(np.flip(x, axis), axis), axis)
    return np.add.accumulate(x, axis)


def cumsum_factory(*, axis: int, reverse: bool) -> Kernel:
    """Return the kernel for fixed attrs."""
    return partial(cumsum, axis=axis, reverse=True) if reverse else partial(np.add.accumulate, axis=axis)


def cumprod(x: Array, *, axis: int, exclusive: bool, reverse: bool) -> Any:
    """Multiply up along an axis, from either end, with or without the element itself."""
    if reverse:
        return np.flip(cumprod(np.flip(x, axis), axis=axis, exclusive=exclusive, reverse=False), axis)
    if not exclusive:
        return np.multiply.accumulate(x, axis)
    before = (slice(None),) * axis
    out = np.empty(x.shape, np.multiply.accumulate(np.ones(1, x.dtype)).dtype)
    out[*before, :1] = 1
    np.multiply.accumulate(x[*before, :-1], axis, out=out[*before, 1:])
    return out


def linear_recurrence(a: Array, b: Array, *, axis: int, reverse: bool) -> Any:
    """Solve ``z[0] = 0, z[i+1] = a[i] z[i] + b[i]`` along an axis, from either end."""
    out = np.empty(a.shape, a.dtype)
    if out.size:
        a, b, z = (np.moveaxis(x, axis, 0)[:: -1 if reverse else 1] for x in (a, b, out))
        solve = _solve_row if z[0].size <= FEW_ROWS else _solve_rows
        solve(a, b, z)
    return out


def _solve_rows(a: Array, b: Array, z: Array) -> None:
    multiply: Any = np.multiply if np.isfinite(a).all() else annihilating_multiply
    z[0] = 0
    for i in range(len(z) - 1):
        np.add(multiply(z[i], a[i]), b[i], out=z[i + 1])


def _solve_row(a: Array, b: Array, z: Array) -> None:
    for row in np.ndindex(z.shape[1:]):
        state: Any = 0
        states = []
        for factor, term in zip(a[:, *row].tolist(), b[:, *row].tolist(), strict=True):
            states.append(state)
            state = factor * state + term if state else term
        z[:, *row] = states


KERNELS: dict[str, Kernel | Specialised] = {
    "cumsum": Specialised(cumsum_factory),
    "cumprod": cumprod,
    "linear_recurrence": linear_recurrence,
}
