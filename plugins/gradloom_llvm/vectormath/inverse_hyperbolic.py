"""Inverse hyperbolic functions, by logarithms of numbers carried in two parts."""

from __future__ import annotations

from math import inf, nan
from typing import Final

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    fast_two_sum,
    fma,
    larger,
    quotient,
    select,
    sqrt,
    two_sum,
)
from gradloom_llvm.vectormath.exponential import format_of
from gradloom_llvm.vectormath.logarithmic import joined, split_sum

#: From here on the square root of x**2 + 1 or x**2 - 1 is x.
LARGE: Final = 2.0**28


def log1p_of_two(x: Vector, rest: Vector, doubled: Vector, half: Vector) -> Vector:
    """Return log(1 + x + rest), or log(2 half) where the mask is set."""
    total, left = two_sum(1.0, x)
    value = joined(*split_sum(select(doubled, half, total), select(doubled, 0.0, left + rest), doubled))
    return value + select(doubled, format_of(x).ln2, 0.0)


def arcsinh(x: Vector) -> Vector:
    """Return arcsinh x = log1p(|x| + x**2 / (1 + sqrt(1 + x**2))), with the sign of x."""
    size = abs(x)
    square = size * size
    rise = square / (sqrt(square + 1.0) + 1.0)
    value = log1p_of_two(*fast_two_sum(size, rise), size > LARGE, size)
    return copysign(select(size < inf, value, size), x)


def arccosh(x: Vector) -> Vector:
    """Return arccosh x = log1p(t + sqrt(t**2 + 2t)), t = x - 1."""
    t = x - 1.0
    double = t + t
    radicand = fma(t, t, double)
    root = sqrt(radicand)
    error = fma(-root, root, radicand) + fma(t, t, double - radicand)
    total, rest = two_sum(t, root)
    rest = rest + error / larger(root + root, 2.0**-500)
    value = log1p_of_two(total, rest, x > LARGE, x)
    return select(x < inf, select(x >= 1.0, value, nan), x)


def arctanh(x: Vector) -> Vector:
    """Return arctanh x = log1p(2|x| / (1 - |x|)) / 2, with the sign of x."""
    size = abs(x)
    divisor = 1.0 - size
    ratio = quotient(size + size, divisor, (1.0 - divisor) - size)
    total, left = two_sum(1.0, ratio)
    value = joined(*split_sum(total, left)) * 0.5
    return copysign(select(size < 1.0, value, select(size.equals(1.0), inf, nan)), x)


FUNCTIONS: Final[dict[str, Function]] = {"arcsinh": arcsinh, "arccosh": arccosh, "arctanh": arctanh}

#: What computes float32 in float64.
WIDE: Final = {"arcsinh": "arcsinh", "arccosh": "arccosh", "arctanh": "arctanh"}
