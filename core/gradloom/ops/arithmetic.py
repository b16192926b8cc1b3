"""Arithmetic ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ops._elementwise import elementwise

Tensor = Any


def add_partial(out: Tensor, x: Tensor, y: Tensor) -> float:
    return 1.0


add = elementwise("add", np.add, add_partial, add_partial)


def subtract_partial_y(out: Tensor, x: Tensor, y: Tensor) -> float:
    return -1.0


subtract = elementwise("subtract", np.subtract, add_partial, subtract_partial_y)


def multiply_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return y


def multiply_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x


multiply = elementwise("multiply", np.multiply, multiply_partial_x, multiply_partial_y)
#: ``x * y``, but exactly zero where x is exactly zero, also when y is inf or NaN.
annihilating_multiply = elementwise(
    "annihilating_multiply", np.multiply, multiply_partial_x, multiply_partial_y, public=False
)


def negative_partial(out: Tensor, x: Tensor) -> float:
    return -1.0


negative = elementwise("negative", np.negative, negative_partial)


def divide_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return 1.0 / y


def divide_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return -out / y


divide = elementwise("divide", np.divide, divide_partial_x, divide_partial_y)
