"""The error function and what is left of it: erf, erfc and ndtr."""

from __future__ import annotations

from typing import Final

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    fma,
    polynomial,
    quotient,
    select,
    smaller,
    two_product,
)
from gradloom_llvm.vectormath.coefficients import ERF, ERFC, ERFC_CENTRE
from gradloom_llvm.vectormath.exponential import expm1_of, power_of_two, reduced, scaled

#: From here on erf is 1.
LIMIT: Final = {"float64": 6.0, "float32": 4.0}

SQRT_HALF: Final = 0.7071067811865476


def erf(x: Vector) -> Vector:
    """Return the error function as 1 - e**-G; G = -log(erfc |x|) is smooth, so one polynomial serves every x.

    G = |x| (1 + P(|x|)) keeps its relative accuracy at zero, and so does e**-G - 1.
    """
    size = smaller(abs(x), LIMIT[x.body.dtype])
    parts = reduced(-fma(size, polynomial(size, ERF[x.body.dtype]), size))
    return copysign(expm1_of(parts, power_of_two(parts.shifted.as_bits())), x)


def tail(size: Vector, square: Vector, square_rest: Vector, factor: float) -> tuple[Vector, Vector]:
    """Return erfc(size) times a factor as m and the shifted n of m 2**n, given the square of size in two numbers."""
    t = (size - ERFC_CENTRE) / (size + ERFC_CENTRE)
    divisor = fma(size, 2.0, 1.0)
    divisor_rest = fma(size, 2.0, 1.0 - divisor)
    smooth = quotient(polynomial(t, ERFC["float64"]) * factor, divisor, divisor_rest)
    parts = reduced(-square, -square_rest)
    lead = 1.0 + parts.r
    rest = (parts.r - (lead - 1.0)) + parts.rest
    return fma(smooth, lead, smooth * rest), parts.shifted


def erfc(x: Vector) -> Vector:
    """Return 1 - erf(x): e**(-x**2) times what changes little, over 1 + 2 |x|; from 2 where x is negative."""
    size = smaller(abs(x), 27.5)
    value = scaled(*tail(size, *two_product(size, size), 1.0))
    return select(x < 0.0, 2.0 - value, value)


def ndtr(x: Vector) -> Vector:
    """Return the normal distribution function, erfc(-x / sqrt(2)) / 2; the exponent x**2 / 2 is exact."""
    size = smaller(abs(x), 39.0)
    square, square_rest = two_product(size, size)
    value = scaled(*tail(size * SQRT_HALF, square * 0.5, square_rest * 0.5, 0.5))
    return select(x > 0.0, 1.0 - value, value)


FUNCTIONS: Final[dict[str, Function]] = {"erf": erf, "erfc": erfc, "ndtr": ndtr}

#: What computes float32 in float64.
WIDE: Final = {"erfc": "erfc", "ndtr": "ndtr"}
