"""Kernels of the arithmetic ops."""

from __future__ import annotations

import operator
from functools import partial
from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised


def annihilating_multiply(x: Any, y: Any) -> Any:
    """Multiply; where either factor is exactly zero the result is zero, whatever the other is."""
    product = x * y
    return cupy.where(cupy.isnan(product) & ((x == 0) | (y == 0)), product.dtype.type(0), product)


def binary_exponent(x: Any) -> Any:
    """Return the exponent of the binary representation."""
    return cupy.frexp(x)[1]


def spacing(x: Any) -> Any:
    """Return the distance to the next number away from zero; CuPy has no ``spacing``."""
    return cupy.nextafter(x, cupy.copysign(x.dtype.type("inf"), x)) - x


def round(*, decimals: int) -> Kernel:
    """Return the kernel that rounds to some decimals."""
    return partial(cupy.round, decimals=decimals)


KERNELS: dict[str, Kernel | Specialised] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "annihilating_multiply": annihilating_multiply,
    "divide": operator.truediv,
    "negative": operator.neg,
    "positive": cupy.positive,
    "reciprocal": cupy.reciprocal,
    "square": cupy.square,
    "sqrt": cupy.sqrt,
    "cbrt": cupy.cbrt,
    "power": cupy.power,
    "hypot": cupy.hypot,
    "floor_divide": cupy.floor_divide,
    "remainder": cupy.remainder,
    "fmod": cupy.fmod,
    "gcd": cupy.gcd,
    "lcm": cupy.lcm,
    "floor": cupy.floor,
    "ceil": cupy.ceil,
    "trunc": cupy.trunc,
    "rint": cupy.rint,
    "round": Specialised(round),
    "sign": cupy.sign,
    "absolute": cupy.absolute,
    "copysign": cupy.copysign,
    "heaviside": cupy.heaviside,
    "nextafter": cupy.nextafter,
    "spacing": spacing,
    "ldexp": cupy.ldexp,
    "binary_exponent": binary_exponent,
}
