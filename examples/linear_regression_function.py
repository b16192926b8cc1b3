"""Linear regression with plain functions, in the manner of Autograd.

The loss is an ordinary NumPy function of the parameters; `gl.elementwise_grad` returns the
function of its gradient.

    python examples/linear_regression_function.py --output pictures
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from _linear_data import TEST_X, TEST_Y, TRAIN_X, TRAIN_Y, least_squares
from _pictures import output_folder, regression_picture

import gradloom as gl

LEARNING_RATE = 0.01
EPOCHS = 100


class Fit(NamedTuple):
    """A fitted line and its errors (sum of squares / 2n)."""

    weight: float
    bias: float
    train_error: float
    test_error: float
    losses: list[float]


def loss(params: Any) -> Any:
    """Return the squared error on the training data, divided by 2n."""
    weight, bias = params
    predictions = (TRAIN_X * weight) + bias
    return np.sum(np.power(predictions - TRAIN_Y, 2) / (2 * TRAIN_X.size))


def fit(seed: int = 0) -> Fit:
    """Fit the line with gradient descent on all samples."""
    gradient = gl.elementwise_grad(loss)
    weight, bias = np.random.default_rng(seed).normal(size=2)
    losses = []
    for _ in range(EPOCHS):
        d_weight, d_bias = gradient((weight, bias))
        weight -= d_weight * LEARNING_RATE
        bias -= d_bias * LEARNING_RATE
        losses.append(float(loss((weight, bias))))
    test_error = np.sum(np.power(TEST_X * weight + bias - TEST_Y, 2) / (2 * TEST_X.size))
    return Fit(float(weight), float(bias), losses[-1], float(test_error), losses)


def main(arguments: Sequence[str] | None = None) -> Fit:
    """Fit the line, print the result and save the picture."""
    folder = output_folder(__doc__, arguments)
    found = fit()
    best = least_squares(TRAIN_X, TRAIN_Y)
    print(f"Train error={found.train_error:.6f} (least squares: {best[2]:.6f})")
    print(f"Test error={found.test_error:.6f}")
    print(f"Weight={found.weight:.6f} Bias={found.bias:.6f} (least squares: {best[0]:.6f}, {best[1]:.6f})")
    path = folder / "linear_regression_function.png"
    regression_picture(path, (TRAIN_X, TRAIN_Y), (TEST_X, TEST_Y), found.weight, found.bias, found.losses, best)
    print(f"Picture: {path}")
    return found


if __name__ == "__main__":
    main()
