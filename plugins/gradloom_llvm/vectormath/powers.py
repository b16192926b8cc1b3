"""Powers and roots: x**y by a logarithm of twice the digits, cube root, length of a vector."""

from __future__ import annotations

from math import inf, nan
from typing import Final

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    fast_two_sum,
    floor,
    fma,
    larger,
    polynomial,
    select,
    smaller,
    sqrt,
    two_product,
)
from gradloom_llvm.vectormath.coefficients import ARCTANH, CBRT
from gradloom_llvm.vectormath.exponential import format_of, power_of_two, reduced, scaled
from gradloom_llvm.vectormath.logarithmic import joined, magic_bits, split
from gradloom_llvm.vectormath.trigonometric import with_sign_of

#: ln(2) less its last eleven bits, so that multiples are exact, and the rest.
LN2_SHORT: Final = 0.6931471805598903
LN2_SHORT_REST: Final = 5.497923018708371e-14

THIRD: Final = (1 / 3, 1.850371707708594e-17)


def log_in_two(x: Vector) -> tuple[Vector, Vector]:
    """Return log(x) of a positive finite x to about 70 bits, in two numbers.

    log(2**k (1 + f)) = k ln(2) + 2 arctanh(s) with s = f / (2 + f); arctanh(s) = s + s**3 (1/3 + s**2 T(s**2)).
    The first two terms are carried in two numbers each; the third is small enough for one.
    """
    k, f, _ = split(x)
    divisor = f + 2.0
    inverse = 1.0 / divisor
    s = f * inverse
    s_rest = fma(-s, f - (divisor - 2.0), fma(-s, divisor, f)) * inverse
    z, z_rest = two_product(s, s)
    z_rest = fma(s + s, s_rest, z_rest)
    c, c_rest = fast_two_sum(THIRD[0], z * polynomial(z, ARCTANH["float64"]))
    c_rest = c_rest + THIRD[1]
    v, v_rest = two_product(z, c)
    v_rest = fma(z, c_rest, fma(z_rest, c, v_rest))
    w, w_rest = two_product(s, v)
    w_rest = fma(s, v_rest, fma(s_rest, v, w_rest))
    half, half_rest = fast_two_sum(s, w)
    half_rest = half_rest + (s_rest + w_rest)
    lead, rest = fast_two_sum(k * LN2_SHORT, half + half)
    return fast_two_sum(lead, fma(k, LN2_SHORT_REST, fma(half_rest, 2.0, rest)))


def power(x: Vector, y: Vector) -> Vector:
    """Return x**y."""
    y = bounded(y)
    lead, rest = log_in_two(abs(x))
    return power_of_logarithm(x, y, lead, rest)


def float32_power(x: Vector, y: Vector) -> Vector:
    """Return x**y to the digits of float32: one number for the logarithm is enough."""
    return power_of_logarithm(x, bounded(y), joined(*split(abs(x))), None)


def bounded(y: Vector) -> Vector:
    """Return an exponent that is finite, so that no product with the logarithm is NaN, and as good as infinite."""
    return larger(smaller(y, 2.0**1000), -(2.0**1000))


def power_of_logarithm(x: Vector, y: Vector, lead: Vector, rest: Vector | None) -> Vector:
    """Return x**y, given log |x| (wrong for 0, inf and NaN)."""
    size = abs(x)
    lead = select(size > 0.0, select(size < inf, lead, inf), -inf)
    product = y * lead
    left = None
    if rest is not None:
        left = select(abs(product) < 1000.0, fma(y, rest, fma(y, lead, -product)), 0.0)
    form = format_of(x)
    parts = reduced(larger(smaller(product, form.highest), form.lowest), left)
    value = scaled(parts.power, parts.shifted)
    return select(y.equals(0.0) | x.equals(1.0), 1.0, with_sign(value, x, y))


def with_sign(value: Vector, x: Vector, y: Vector) -> Vector:
    """Return |x|**y with the sign of x where y is odd, and NaN where x < 0 and y is not whole, or either is NaN."""
    whole = floor(y).equals(y)
    half = y * 0.5
    odd = whole & ~floor(half).equals(half)
    value = select(odd, with_sign_of(value, x), value)
    undefined = (x < 0.0) & (x > -inf) & ~whole
    return select(undefined | x.unordered(y), nan, value)


def cbrt(x: Vector) -> Vector:
    """Return the cube root: a polynomial for M**(-1/3), two Newton steps, one more for M**(1/3) with its residue."""
    form, size = format_of(x), abs(x)
    tiny = size < 2.0**-1022
    bits = select(tiny, size * 2.0**54, size).as_bits()
    exponent = bits.integer("lshr", form.mantissa).integer("add", magic_bits(x)).as_floats()
    exponent = exponent - select(tiny, form.magic + 1023 + 54, form.magic + 1023)
    mantissa = bits.integer("and", (1 << form.mantissa) - 1).integer("or", form.one).as_floats()
    shifted = fma(exponent - 1.0, 1 / 3, form.magic)  # exponent = 3 whole + over, over one of 0, 1, 2
    over = fma(shifted - form.magic, -3.0, exponent)
    one, two = over.equals(1.0), over.equals(2.0)
    root = polynomial(mantissa, CBRT["float64"])
    root = root * select(one, 0.5 ** (1 / 3), select(two, 0.25 ** (1 / 3), 1.0))
    cube = mantissa * select(one, 2.0, select(two, 4.0, 1.0))
    for _ in range(2):
        root = fma(root * (1 / 3), fma(-cube, root * root * root, 1.0), root)
    square = root * root
    value = cube * square
    value_square, value_square_rest = two_product(value, value)
    residue = fma(-value, value_square_rest, fma(-value, value_square, cube))
    value = fma(residue * (1 / 3), square, value) * power_of_two(shifted.as_bits())
    return copysign(select((size > 0.0) & (size < inf), value, size), x)


def hypot(x: Vector, y: Vector) -> Vector:
    """Return sqrt(x**2 + y**2), by a power of two where squares would overflow or vanish; inf also beside NaN."""
    size_x, size_y = abs(x), abs(y)
    swap = size_y > size_x
    most, least = select(swap, size_y, size_x), select(swap, size_x, size_y)
    huge, tiny = most > 2.0**500, most < 2.0**-450
    power = select(huge, 2.0**-600, select(tiny, 2.0**600, 1.0))
    most, least = most * power, least * power
    value = sqrt(fma(most, most, least * least)) * select(huge, 2.0**600, select(tiny, 2.0**-600, 1.0))
    return select(size_x.equals(inf) | size_y.equals(inf), inf, value)


FUNCTIONS: Final[dict[str, Function]] = {"power": power, "cbrt": cbrt, "hypot": hypot}

#: Functions called for others only.
HELPERS: Final[dict[str, Function]] = {"float32_power": float32_power}

#: What computes float32 in float64.
WIDE: Final = {"power": "float32_power", "cbrt": "cbrt", "hypot": "hypot"}
