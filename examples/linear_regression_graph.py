"""Linear regression with an explicit graph, in the manner of TensorFlow 1.

Placeholders stand for one sample and for the parameters. The graph of the loss is built once,
`gl.gradients` extends it by the gradients, and each step of gradient descent feeds one sample.

    python examples/linear_regression_graph.py --output pictures
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


def squared_error(predictions: Any, y: Any, n: int) -> Any:
    """Return the squared error, halved and divided by a number of samples."""
    return np.sum(np.power(predictions - y, 2)) / (2 * n)


def fit(seed: int = 0) -> Fit:
    """Fit the line with stochastic gradient descent, one sample at a time."""
    # Parameters of the model, and one sample.
    weight = gl.tensor(shape=(), name="weight")
    bias = gl.tensor(shape=(), name="bias")
    x = gl.tensor(shape=(), name="x")
    y = gl.tensor(shape=(), name="y")

    # The graph of the loss and its gradients; nothing runs yet.
    loss = squared_error(x * weight + bias, y, TRAIN_X.size)
    gradients = gl.gradients(loss, [weight, bias])

    # The graphs of the errors over all samples.
    train_error = squared_error(TRAIN_X * weight + bias, TRAIN_Y, TRAIN_X.size)
    test_error = squared_error(TEST_X * weight + bias, TEST_Y, TEST_X.size)

    w, b = np.random.default_rng(seed).normal(size=2)
    losses = []
    for _ in range(EPOCHS):
        for sample_x, sample_y in zip(TRAIN_X, TRAIN_Y, strict=True):
            dw, db = gl.compute(*gradients, feed={x: sample_x, y: sample_y, weight: w, bias: b})
            w, b = w - LEARNING_RATE * dw, b - LEARNING_RATE * db
        losses.append(float(gl.compute(train_error, feed={weight: w, bias: b})[0]))
    train, test = gl.compute(train_error, test_error, feed={weight: w, bias: b})
    return Fit(float(w), float(b), float(train), float(test), losses)


def main(arguments: Sequence[str] | None = None) -> Fit:
    """Fit the line, print the result and save the picture."""
    folder = output_folder(__doc__, arguments)
    found = fit()
    best = least_squares(TRAIN_X, TRAIN_Y)
    print(f"Train error={found.train_error:.6f} (least squares: {best[2]:.6f})")
    print(f"Test error={found.test_error:.6f}")
    print(f"Weight={found.weight:.6f} Bias={found.bias:.6f} (least squares: {best[0]:.6f}, {best[1]:.6f})")
    path = folder / "linear_regression_graph.png"
    regression_picture(path, (TRAIN_X, TRAIN_Y), (TEST_X, TEST_Y), found.weight, found.bias, found.losses, best)
    print(f"Picture: {path}")
    return found


if __name__ == "__main__":
    main()
