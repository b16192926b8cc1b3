"""200 steps of Runge-Kutta (RK4) through the Lotka-Volterra equations, unrolled in Python.

JAX is left out of it: it did not finish compiling the unrolled steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload

STEPS, H = 200, 0.05


def integrate(slope: Callable[..., Any], state: Any, p: Any) -> Any:
    """Return the state after all steps."""
    for _ in range(STEPS):
        k1 = slope(state, p)
        k2 = slope(state + H / 2 * k1, p)
        k3 = slope(state + H / 2 * k2, p)
        k4 = slope(state + H * k3, p)
        state = state + H / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    return state


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the sum of squares of the last state, a vector of two."""

    def slope(state: Any, p: Any) -> Any:
        x, y = state[0], state[1]
        return xp.stack([p[0] * x - p[1] * x * y, p[3] * x * y - p[2] * y])

    def loss(p: Any, state: Any) -> Any:
        return xp.sum(integrate(slope, state, p) ** 2)

    return loss


def make_matrix(xp: Any, special: Any) -> Callable[..., Any]:
    """Return the same with the slope as a product: M(p) @ (x, y, xy)."""

    def slope(state: Any, matrix: Any) -> Any:
        return matrix[:, :2] @ state + matrix[:, 2] * (state[0] * state[1])

    def loss(p: Any, state: Any) -> Any:
        zero = xp.zeros_like(p[0])
        rows = [xp.stack([p[0], zero, -p[1]]), xp.stack([zero, -p[2], p[3]])]
        return xp.sum(integrate(slope, state, xp.stack(rows)) ** 2)

    return loss


def inputs() -> tuple[Arrays, Arrays]:
    """Return the four rates; the first state."""
    return (np.array([1.5, 1.0, 3.0, 1.0]),), (np.array([1.0, 0.5]),)


_PEERS = ("torch", "autograd")
WORKLOADS = [
    Workload("lotka_volterra", make, inputs, peers=_PEERS, target=0.05),
    Workload("lotka_volterra_matrix", make_matrix, inputs, peers=_PEERS, target=0.05),
    Workload("lotka_volterra_traced", make, inputs, jit=False, peers=_PEERS),
]
