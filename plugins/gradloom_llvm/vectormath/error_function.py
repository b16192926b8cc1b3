"""The error function and what is left of it: erf, erfc and ndtr."""

from __future__ import annotations

from typing import Final

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    exact_quotient,
    fast_two_sum,
    fma,
    larger,
    polynomial,
    select,
    smaller,
    two_product,
)
from gradloom_llvm.vectormath.coefficients import ERF, ERFC, ERFC_CENTRE, ERFC_HEAD_REST
from gradloom_llvm.vectormath.exponential import expm1_of, power_of_two, reduced, scaled

#: From here on erf is 1.
LIMIT: Final = {"float64": 6.0, "float32": 4.0}

#: From here on erfc is 0, and ndtr of the negative number.
ERFC_ZERO: Final = {"float64": 27.5, "float32": 10.5}
NDTR_ZERO: Final = {"float64": 39.0, "float32": 14.5}

#: The derivative of the polynomial ERFC at -1.
ERFC_SLOPE: Final = 1.63

SQRT_HALF: Final = {
    "float64": (0.7071067811865476, -4.833646656726457e-17),
    "float32": (0.7071067690849304, 1.2101617485882343e-08),
}


def erf(x: Vector) -> Vector:
    """Return the error function as 1 - e**-G; G = -log(erfc |x|) is smooth, so one polynomial serves every x.

    G = |x| (1 + P(|x|)) keeps its relative accuracy at zero, and so does e**-G - 1.
    """
    size = smaller(abs(x), LIMIT[x.body.dtype])
    head, *others = ERF[x.body.dtype]
    parts = reduced(-fma(size, fma(size, polynomial(size, others), head), size))
    return copysign(expm1_of(parts, power_of_two(parts.shifted.as_bits())), x)


def centred(size: Vector, centre: float) -> tuple[Vector, Vector]:
    """Return (size - centre) / (size + centre), in two numbers."""
    above, below = size - centre, size + centre
    above_rest, below_rest = size - (above + centre), size - (below - centre)
    inverse = 1.0 / below
    t = above * inverse
    return t, (fma(-t, below, above) + fma(-t, below_rest, above_rest)) * inverse


def tail(size: Vector, exponent: Vector, exponent_rest: Vector, unit: tuple[float, float], factor: float) -> Vector:
    """Return factor erfc(unit size), the unit and the exponent (unit size)**2 given in two numbers each."""
    t, t_rest = centred(size, ERFC_CENTRE / unit[0])
    head, *others = ERFC[size.body.dtype]
    slope = larger(fma(t, -2.0, -1.0), 0.0)  # near enough where it matters, next to t = -1
    rest = fma(
        t, polynomial(t, tuple(others)), fma(slope * slope, t_rest * ERFC_SLOPE, ERFC_HEAD_REST[size.body.dtype])
    )
    lead, rest = fast_two_sum(head, rest)
    divisor = fma(size, 2.0 * unit[0], 1.0)
    divisor_rest = fma(size, 2.0 * unit[1], fma(size, 2.0 * unit[0], 1.0 - divisor))
    smooth = exact_quotient(lead * factor, divisor, divisor_rest, rest * factor)
    parts = reduced(-exponent, -exponent_rest)
    lead = 1.0 + parts.r
    rest = (parts.r - (lead - 1.0)) + parts.rest
    return scaled(fma(smooth, lead, smooth * rest), parts.shifted)


def erfc(x: Vector) -> Vector:
    """Return 1 - erf(x): e**(-x**2) times what changes little, over 1 + 2 |x|; from 2 where x is negative."""
    size = smaller(abs(x), ERFC_ZERO[x.body.dtype])
    value = tail(size, *two_product(size, size), (1.0, 0.0), 1.0)
    return select(x < 0.0, 2.0 - value, value)


def ndtr(x: Vector) -> Vector:
    """Return the normal distribution function, erfc(-x / sqrt(2)) / 2; the exponent x**2 / 2 is exact."""
    size = smaller(abs(x), NDTR_ZERO[x.body.dtype])
    square, square_rest = two_product(size, size)
    value = tail(size, square * 0.5, square_rest * 0.5, SQRT_HALF[x.body.dtype], 0.5)
    return select(x > 0.0, 1.0 - value, value)


FUNCTIONS: Final[dict[str, Function]] = {"erf": erf, "erfc": erfc, "ndtr": ndtr}
