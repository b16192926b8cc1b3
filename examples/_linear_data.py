"""The data of both linear regressions, and the line that fits them best."""

from __future__ import annotations

from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

TRAIN_X = np.array(
    [3.3, 4.4, 5.5, 6.71, 6.93, 4.168, 9.779, 6.182, 7.59, 2.167, 7.042, 10.791, 5.313, 7.997, 5.654, 9.27, 3.1]
)
TRAIN_Y = np.array(
    [1.7, 2.76, 2.09, 3.19, 1.694, 1.573, 3.366, 2.596, 2.53, 1.221, 2.827, 3.465, 1.65, 2.904, 2.42, 2.94, 1.3]
)
TEST_X = np.array([6.83, 4.668, 8.9, 7.91, 5.7, 8.7, 3.1, 2.1])
TEST_Y = np.array([1.84, 2.273, 3.2, 2.831, 2.92, 3.24, 1.35, 1.03])


def least_squares(x: Array, y: Array) -> tuple[float, float, float]:
    """Return weight, bias and error (sum of squares / 2n) of the best line, in closed form."""
    dx, dy = x - x.mean(), y - y.mean()
    weight = float((dx @ dy) / (dx @ dx))
    bias = float(y.mean() - weight * x.mean())
    return weight, bias, float(np.sum((weight * x + bias - y) ** 2) / (2 * x.size))
