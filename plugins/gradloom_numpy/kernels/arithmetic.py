"""Kernels of the arithmetic ops."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def annihilating_multiply(x: Any, y: Any) -> Any:
    """Multiply; where either factor is exactly zero the result is zero, whatever the other is."""
    product = x * y
    if not isinstance(product, np.ndarray):
        return product if product == product or (x != 0 and y != 0) else product.dtype.type(0)
    # One pass over the product finds out whether any element needs mending: a sum of squares
    # is NaN if an element is.
    check = product.dot(product) if product.ndim == 1 else np.vdot(product, product)
    if check != check:
        np.copyto(product, 0, where=np.isnan(product) & ((x == 0) | (y == 0)))
    return product


def binary_exponent(x: Any) -> Any:
    """Return the exponent of the binary representation."""
    return np.frexp(x)[1]


def round(*, decimals: int) -> Kernel:
    """Return the kernel that rounds to some decimals."""
    return partial(np.round, decimals=decimals)


KERNELS: dict[str, Kernel | Specialised] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "annihilating_multiply": annihilating_multiply,
    "divide": operator.truediv,
    "negative": operator.neg,
    "positive": np.positive,
    "reciprocal": np.reciprocal,
    "square": np.square,
    "sqrt": np.sqrt,
    "cbrt": np.cbrt,
    "power": np.power,
    "hypot": np.hypot,
    "floor_divide": np.floor_divide,
    "remainder": np.remainder,
    "fmod": np.fmod,
    "gcd": np.gcd,
    "lcm": np.lcm,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
    "round": Specialised(round),
    "sign": np.sign,
    "absolute": np.absolute,
    "copysign": np.copysign,
    "heaviside": np.heaviside,
    "nextafter": np.nextafter,
    "spacing": np.spacing,
    "ldexp": np.ldexp,
    "binary_exponent": binary_exponent,
}
