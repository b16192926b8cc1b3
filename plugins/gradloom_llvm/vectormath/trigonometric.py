"""Sine, cosine and tangent: x less a multiple of pi/2, in two numbers, and polynomials on |r| <= pi/4."""

from __future__ import annotations

from typing import Final, final

from gradloom_llvm.vectormath._text import Function, Vector, fast_two_sum, fma, polynomial, quotient, select
from gradloom_llvm.vectormath.coefficients import COS, SIN
from gradloom_llvm.vectormath.exponential import format_of

TWO_OVER_PI: Final = 0.6366197723675814

#: pi/2 in three numbers.
HALF_PI: Final = {
    "float64": (1.5707963267948966, 6.123233995736766e-17, -1.497384905065873e-33),
    "float32": (1.5707963705062866, -4.371138828673793e-08, -1.7151245100058819e-15),
}

#: Up to here the three numbers suffice: n pi/2 stays accurate where x is closest to it.
HUGE: Final = {"float64": 2.0**38, "float32": 2.0**16}


@final
class Reduced:
    """|x| as n pi/2 + r + rest, n in the lowest bits of `quadrant`."""

    __slots__ = ("quadrant", "r", "rest")

    def __init__(self, quadrant: Vector, r: Vector, rest: Vector) -> None:
        self.quadrant = quadrant
        self.r = r
        self.rest = rest


def reduced(size: Vector) -> Reduced:
    """Return what is left of |x| after n multiples of pi/2; the first step is exact, the second is made so."""
    form, (first, second, third) = format_of(size), HALF_PI[size.body.dtype]
    shifted = fma(size, TWO_OVER_PI, form.magic)
    n = shifted - form.magic
    lead = fma(n, -first, size)
    product = n * second
    r = lead - product
    rest = (lead - r) - product  # exact where |lead| >= |product|; elsewhere r is tiny only if product is
    rest = rest - fma(n, second, -product)
    return Reduced(shifted.as_bits(), r, fma(n, -third, rest))


def sine(part: Reduced) -> Vector:
    """Return sin(r + rest)."""
    square = part.r * part.r
    return part.r + fma(part.r * square, polynomial(square, SIN[square.body.dtype]), part.rest)


def cosine(part: Reduced) -> Vector:
    """Return cos(r + rest)."""
    square = part.r * part.r
    return 1.0 + fma(square, polynomial(square, (-0.5, *COS[square.body.dtype])), -(part.r * part.rest))


def even(quadrant: Vector) -> Vector:
    """Return the mask of even quadrants."""
    return quadrant.integer("and", 1).matches(0)


def flipped(value: Vector, quadrant: Vector) -> Vector:
    """Return the value with its sign changed where bit 1 of the quadrant is set."""
    bits = value.body.bits
    sign = quadrant.integer("shl", bits - 2).integer("and", -1 << (bits - 1))
    return value.as_bits().integer("xor", sign).as_floats()


def with_sign_of(value: Vector, x: Vector) -> Vector:
    """Return the value, its sign changed where x has one."""
    sign = x.as_bits().integer("and", -1 << (x.body.bits - 1))
    return value.as_bits().integer("xor", sign).as_floats()


def sin(x: Vector) -> Vector:
    """Return the sine."""
    size = abs(x)
    part = reduced(size)
    value = flipped(select(even(part.quadrant), sine(part), cosine(part)), part.quadrant)
    return x.body.unless_any(size > HUGE[x.body.dtype], with_sign_of(value, x), "huge_sin", x)


def cos(x: Vector) -> Vector:
    """Return the cosine."""
    size = abs(x)
    part = reduced(size)
    quadrant = part.quadrant.integer("add", 1)
    value = flipped(select(even(quadrant), sine(part), cosine(part)), quadrant)
    return x.body.unless_any(size > HUGE[x.body.dtype], value, "huge_cos", x)


def tan(x: Vector) -> Vector:
    """Return the tangent, sine over cosine or minus cosine over sine, each with what rounding it left out."""
    part = reduced(abs(x))
    square = part.r * part.r
    sine_rest = fma(part.r * square, polynomial(square, SIN[x.body.dtype]), part.rest)
    cosine_rest = fma(square, polynomial(square, (-0.5, *COS[x.body.dtype])), -(part.r * part.rest))
    sine, sine_rest = fast_two_sum(part.r, sine_rest)
    cosine, cosine_rest = fast_two_sum(1.0, cosine_rest)
    straight = even(part.quadrant)
    value = quotient(
        select(straight, sine, -cosine), select(straight, cosine, sine),
        select(straight, cosine_rest, sine_rest), select(straight, sine_rest, -cosine_rest),
    )  # fmt: skip
    return x.body.unless_any(abs(x) > HUGE[x.body.dtype], with_sign_of(value, x), "huge_tan", x)


def huge(op: str) -> Function:
    """Return the function that serves the huge lanes of sin or cos: the C library's, by float64 for float32."""

    def rare(x: Vector, usual: Vector) -> Vector:
        body = x.body
        if body.dtype == "float64":
            value = body.per_lane(op, x)
        else:
            value = body.call(op, x.astype("float64"), dtype="float64").astype("float32")
        return select(abs(x) > HUGE[body.dtype], value, usual)

    return rare


FUNCTIONS: Final[dict[str, Function]] = {"sin": sin, "cos": cos, "tan": tan}

#: Called in rarely taken branches, never inlined.
RARE: Final[dict[str, Function]] = {"huge_sin": huge("sin"), "huge_cos": huge("cos"), "huge_tan": huge("tan")}
