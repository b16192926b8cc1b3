"""Functions made from e**r on |r| <= ln(2) / 2, with r what is left of x after n multiples of ln 2."""

from __future__ import annotations

from typing import Final, final

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    fma,
    larger,
    polynomial,
    quotient,
    select,
    smaller,
)
from gradloom_llvm.vectormath.coefficients import COSH, EXP, SINH

LOG2_E: Final = 1.4426950408889634

#: Below, e**x - 1 and sinh x are x; at half the size, the smallest would lose digits.
TINY: Final = 2.0**-60


@final
class Format:
    """What the tricks with bits need to know about a dtype."""

    def __init__(
        self,
        magic: float,  # added to a small number, leaves its nearest integer in the lowest bits
        mantissa: int,  # stored bits of the mantissa
        one: int,  # the bits of 1.0
        ln2: float,
        ln2_rest: float,  # ln(2) - ln2
        highest: float,  # e**highest overflows
        lowest: float,  # e**lowest is zero
        tanh_limit: float,  # from here on tanh is 1
    ) -> None:
        self.magic = magic
        self.mantissa = mantissa
        self.one = one
        self.ln2, self.ln2_rest = ln2, ln2_rest
        self.highest, self.lowest = highest, lowest
        self.tanh_limit = tanh_limit


FORMATS: Final = {
    "float64": Format(
        2.0**52 * 1.5, 52, 1023 << 52, 0.6931471805599453, 2.3190468138462996e-17, 710.0, -746.0, 20.0
    ),
    "float32": Format(
        2.0**23 * 1.5, 23, 127 << 23, 0.6931471824645996, -1.9046542121259336e-09, 89.0, -104.0, 10.0
    ),
}  # fmt: skip


def format_of(x: Vector) -> Format:
    """Return the format of a float vector."""
    return FORMATS[x.body.dtype]


@final
class Reduced:
    """e**x as 2**n e**r: n in the lowest bits of `shifted`, r, r**2, and P with e**r = 1 + r + r**2 P."""

    def __init__(self, shifted: Vector, r: Vector, square: Vector, polynomial: Vector) -> None:
        self.shifted = shifted
        self.r = r
        self.square = square
        self.polynomial = polynomial

    @property
    def power(self) -> Vector:
        """Return e**r."""
        return fma(self.square, self.polynomial, self.r) + 1.0

    @property
    def rest(self) -> Vector:
        """Return e**r - 1 - r."""
        return self.square * self.polynomial


def reduced(x: Vector, rest: Vector | None = None) -> Reduced:
    """Return x + rest = n ln(2) + r; r is exact but for its last rounding."""
    f = format_of(x)
    shifted = fma(x, LOG2_E, f.magic)
    n = shifted - f.magic
    lead = fma(n, -f.ln2, x)  # exact
    r = lead + fma(n, -f.ln2_rest, rest) if isinstance(rest, Vector) else fma(n, -f.ln2_rest, lead)
    return Reduced(shifted, r, r * r, polynomial(r, EXP[x.body.dtype]))


def power_of_two(shifted: Vector, offset: int = 0) -> Vector:
    """Return 2**(n + offset), which must be a normal number, of n in the lowest bits."""
    f = format_of(shifted)
    return shifted.integer("shl", f.mantissa).integer("add", f.one + (offset << f.mantissa)).as_floats()


def scaled(value: Vector, shifted: Vector) -> Vector:
    """Return value * 2**n, rounded once though it may overflow or be subnormal: half of n is in each factor."""
    f = format_of(value)
    if value.body.avx512 and value.body.lanes * value.body.bits == 512:
        return scaled_by_one_instruction(value, shifted - f.magic)
    bits = shifted.as_bits()
    half = bits.integer("lshr", 1)
    first = value.as_bits().integer("add", half.integer("shl", f.mantissa)).as_floats()
    return first * power_of_two(bits.integer("sub", half))


def scaled_by_one_instruction(value: Vector, n: Vector) -> Vector:
    """Return value * 2**n as a 512-bit register of x86 does it; the result is the same."""
    body = value.body
    kind, mask = {"float64": ("pd", "i8"), "float32": ("ps", "i16")}[body.dtype]
    symbol = f"@llvm.x86.avx512.mask.scalef.{kind}.512"
    body.declares.add(f"declare {body.floats} {symbol}({body.floats}, {body.floats}, {body.floats}, {mask}, i32)")
    arguments = f"{body.floats} {value.name}, {body.floats} {n.name}, {body.floats} zeroinitializer, {mask} -1, i32 4"
    return body.emit(body.floats, f"call {body.floats} {symbol}({arguments})")


def exp(x: Vector) -> Vector:
    """Return e**x."""
    f = format_of(x)
    parts = reduced(larger(smaller(x, f.highest), f.lowest))
    return scaled(parts.power, parts.shifted)


def reduced_in_base_2(x: Vector, rest: Vector | None = None) -> Reduced:
    """Return the parts of 2**(x + rest), of x anywhere: what is left of x after rounding is exact."""
    f = format_of(x)
    x = larger(smaller(x, 1025.0 if f.mantissa == 52 else 129.0), -1080.0 if f.mantissa == 52 else -155.0)
    shifted = x + f.magic
    part = x - (shifted - f.magic)
    r = fma(part, f.ln2, rest * f.ln2) if isinstance(rest, Vector) else part * f.ln2
    return Reduced(shifted, r, r * r, polynomial(r, EXP[x.body.dtype]))


def exp2(x: Vector) -> Vector:
    """Return 2**x."""
    parts = reduced_in_base_2(x)
    return scaled(parts.power, parts.shifted)


def expm1_of(parts: Reduced, power: Vector) -> Vector:
    """Return 2**n e**r - 1, exact enough also where the two nearly cancel: 2**n - 1 + 2**n r comes first."""
    return fma(power, parts.rest, fma(power, parts.r, power - 1.0))


def expm1(x: Vector) -> Vector:
    """Return e**x - 1; at half the size, since 2**n overflows a little before the result does."""
    f = format_of(x)
    parts = reduced(larger(smaller(x, f.highest), -40.0))
    half = power_of_two(parts.shifted.as_bits(), -1)
    value = fma(half, parts.rest, fma(half, parts.r, half - 0.5)) * 2.0
    return select(abs(x) < TINY, x, value)


def expit(x: Vector) -> Vector:
    """Return 1 / (1 + e**-x), by e**-|x|, which cannot overflow and stays accurate at both ends."""
    parts = reduced(larger(-abs(x), format_of(x).lowest))
    power = scaled(parts.power, parts.shifted)
    divisor = power + 1.0
    return quotient(select(x < 0.0, power, 1.0), divisor, power - (divisor - 1.0))


def tanh(x: Vector) -> Vector:
    """Return (e**2x - 1) / (e**2x + 1) of |x|, with the sign of x."""
    size = smaller(abs(x), format_of(x).tanh_limit)
    parts = reduced(size + size)
    above = expm1_of(parts, power_of_two(parts.shifted.as_bits()))
    divisor = above + 2.0
    return copysign(quotient(above, divisor, above - (divisor - 2.0)), x)


@final
class Halves:
    """A quarter of the difference and of the sum of 2**n and 2**-n, r, sinh(r) - r and cosh(r) - 1."""

    def __init__(self, difference: Vector, sum: Vector, r: Vector, sinh_rest: Vector, cosh_rest: Vector) -> None:
        self.difference = difference
        self.sum = sum
        self.r = r
        self.sinh_rest = sinh_rest
        self.cosh_rest = cosh_rest


def halves(x: Vector) -> Halves:
    """Return what sinh and cosh of |x| are made of."""
    f = format_of(x)
    shifted = fma(x, LOG2_E, f.magic)
    n = shifted - f.magic
    r = fma(n, -f.ln2_rest, fma(n, -f.ln2, x))
    up = power_of_two(shifted.as_bits(), -2)
    down = power_of_two((f.magic - smaller(n, 64.0)).as_bits(), -2)
    square = r * r
    sinh_rest = r * square * polynomial(square, SINH[x.body.dtype])
    return Halves(up - down, up + down, r, sinh_rest, square * polynomial(square, COSH[x.body.dtype]))


def sinh(x: Vector) -> Vector:
    """Return sinh x: sinh(n ln 2) cosh r + cosh(n ln 2) sinh r, the largest terms exactly."""
    size = abs(x)
    part = halves(smaller(size, 710.6))
    lead = fma(part.sum, part.r, part.difference)
    left = fma(part.sum, part.r, part.difference - lead)
    value = lead + (fma(part.sum, part.sinh_rest, part.difference * part.cosh_rest) + left)
    return copysign(select(size < TINY, size, value + value), x)


def cosh(x: Vector) -> Vector:
    """Return cosh x: cosh(n ln 2) cosh r + sinh(n ln 2) sinh r, the largest terms exactly."""
    part = halves(smaller(abs(x), 710.6))
    lead = fma(part.difference, part.r, part.sum)
    value = lead + fma(part.difference, part.sinh_rest, part.sum * part.cosh_rest)
    return value + value


FUNCTIONS: Final[dict[str, Function]] = {
    "exp": exp, "exp2": exp2, "expm1": expm1, "expit": expit, "tanh": tanh, "sinh": sinh, "cosh": cosh,
}  # fmt: skip

#: What computes float32 in float64.
WIDE: Final = {"sinh": "sinh", "cosh": "cosh"}
