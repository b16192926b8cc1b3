"""Exponentials, logarithms, trigonometric and hyperbolic functions."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.ops._elementwise import elementwise

Tensor = Any


def sin_partial(out: Tensor, x: Tensor) -> Tensor:
    return cos(x)


sin = elementwise("sin", np.sin, sin_partial)


def cos_partial(out: Tensor, x: Tensor) -> Tensor:
    return -sin(x)


cos = elementwise("cos", np.cos, cos_partial)
