"""Least squares on 17 points: what a call costs when the arithmetic costs nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.libraries import Arrays
from benchmarks.workloads._workload import Workload

X = np.array(
    [3.3, 4.4, 5.5, 6.71, 6.93, 4.168, 9.779, 6.182, 7.59, 2.167, 7.042, 10.791, 5.313, 7.997, 5.654, 9.27, 3.1]
)
Y = np.array(
    [1.7, 2.76, 2.09, 3.19, 1.694, 1.573, 3.366, 2.596, 2.53, 1.221, 2.827, 3.465, 1.65, 2.904, 2.42, 2.94, 1.3]
)


def make(xp: Any, special: Any) -> Callable[..., Any]:
    """Return half the mean square error of ``w * X + b``."""

    def loss(w: Any, b: Any, X: Any, Y: Any) -> Any:
        return xp.sum((X * w + b - Y) ** 2) / (2 * X.shape[0])

    return loss


def inputs() -> tuple[Arrays, Arrays]:
    """Return slope and intercept; the points."""
    return (np.array(0.3), np.array(0.1)), (X, Y)


WORKLOADS = [
    Workload("linear_regression", make, inputs, target=0.25),
    Workload("linear_regression_traced", make, inputs, jit=False, peers=("torch", "autograd")),
]
