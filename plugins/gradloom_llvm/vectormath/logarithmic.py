"""Logarithms: x = 2**k (1 + f) with 1 + f between sqrt(1/2) and sqrt(2), and a polynomial in f, without division."""

from __future__ import annotations

from math import inf, nan
from typing import Final, TypeAlias

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    fast_two_sum,
    fma,
    larger,
    polynomial,
    select,
    two_sum,
)
from gradloom_llvm.vectormath.coefficients import LOG
from gradloom_llvm.vectormath.exponential import Reduced, format_of, power_of_two, reduced, reduced_in_base_2, scaled

#: The bits of sqrt(1/2).
SQRT_HALF: Final = {"float64": 0x3FE6A09E667F3BCD, "float32": 0x3F3504F3}
SMALLEST_NORMAL: Final = {"float64": 2.0**-1022, "float32": 2.0**-126}

#: log2(e), log10(e) and log10(2), and what rounding them left out.
LOG2_E: Final = {
    "float64": (1.4426950408889634, 2.0355273740931033e-17),
    "float32": (1.4426950216293335, 1.925963033500011e-08),
}
LOG10_E: Final = {
    "float64": (0.4342944819032518, 1.098319650216765e-17),
    "float32": (0.4342944920063019, -1.0103049952192578e-08),
}
LOG10_2: Final = {
    "float64": (0.3010299956639812, -2.8037281277851704e-18),
    "float32": (0.3010300099849701, -1.432098883924482e-08),
}


#: x as 2**k (1 + f + rest): k, a whole float; f; and rest, which is what rounding f left out, if anything.
Split: TypeAlias = tuple[Vector, Vector, Vector | None]


def split(x: Vector) -> Split:
    """Return the parts of a positive x; subnormals are scaled first."""
    form, dtype = format_of(x), x.body.dtype
    tiny = x < SMALLEST_NORMAL[dtype]
    lift = form.mantissa + 2
    bits = select(tiny, x * 2.0**lift, x).as_bits().integer("sub", SQRT_HALF[dtype])
    k = bits.integer("ashr", form.mantissa).integer("add", magic_bits(x)).as_floats()
    k = k - select(tiny, form.magic + lift, form.magic)
    one_plus_f = bits.integer("and", (1 << form.mantissa) - 1).integer("add", SQRT_HALF[dtype]).as_floats()
    return k, one_plus_f - 1.0, None


def magic_bits(x: Vector) -> int:
    """Return the bits of the number that turns small integers into floats."""
    form = format_of(x)
    return form.one + (form.mantissa << form.mantissa) + (1 << (form.mantissa - 1))


def log1p_rest(f: Vector) -> Vector:
    """Return log(1 + f) - f."""
    return f * f * polynomial(f, (-0.5, *LOG[f.body.dtype]))


def joined(k: Vector, f: Vector, f_rest: Vector | None = None) -> Vector:
    """Return k ln(2) + log(1 + f + f_rest); what the leading sum rounds away is kept in float64."""
    form = format_of(f)
    curve = log1p_rest(f) if f_rest is None else log1p_rest(f) + f_rest
    lead, rest = fma(k, form.ln2, f), fma(k, form.ln2_rest, curve)
    if f.body.dtype == "float64":
        rest = rest + (f + fma(k, form.ln2, -lead))
    return lead + rest


def with_limits(value: Vector, x: Vector) -> Vector:
    """Return a logarithm's value with those of zero (-inf), inf, NaN and negative numbers (NaN) put in."""
    finite = select(x < inf, value, x)
    return select(x > 0.0, finite, select(x.equals(0.0), -inf, nan))


def log(x: Vector) -> Vector:
    """Return the natural logarithm."""
    return with_limits(joined(*split(x)), x)


def joined_in_base_2(k: Vector, f: Vector, f_rest: Vector | None = None) -> Vector:
    """Return k + log2(1 + f + f_rest)."""
    curve = log1p_rest(f) if f_rest is None else log1p_rest(f) + f_rest
    factor, factor_rest = LOG2_E[f.body.dtype]
    lead = f * factor
    rest = fma(f, factor_rest, fma(curve, factor, fma(f, factor, -lead)))
    total = k + lead
    return total + (lead - (total - k) + rest)


def log2(x: Vector) -> Vector:
    """Return the logarithm to base 2, whole for whole powers."""
    return with_limits(joined_in_base_2(*split(x)), x)


def log10(x: Vector) -> Vector:
    """Return the logarithm to base 10."""
    k, f, _ = split(x)
    (factor, factor_rest), (per_k, per_k_rest) = LOG10_E[x.body.dtype], LOG10_2[x.body.dtype]
    lead = f * factor
    rest = fma(f, factor_rest, fma(log1p_rest(f), factor, fma(f, factor, -lead)))
    whole = k * per_k
    rest = fma(k, per_k_rest, rest) + fma(k, per_k, -whole)
    total, left = two_sum(whole, lead)
    return with_limits(total + (left + rest), x)


def split_sum(total: Vector, left: Vector, dropped: Vector | None = None) -> Split:
    """Return the parts of total + left, a normal positive number and what rounding it left out.

    What is left is not used where the mask `dropped` is set, as it must be where total is near overflow.
    """
    form, dtype = format_of(total), total.body.dtype
    bits = total.as_bits()
    shifted = bits.integer("sub", SQRT_HALF[dtype])
    k = shifted.integer("ashr", form.mantissa).integer("add", magic_bits(total)).as_floats() - form.magic
    exponent = shifted.integer("and", -1 << form.mantissa)
    f = bits.integer("sub", exponent).as_floats() - 1.0
    scale = exponent.integer_from(form.one).as_floats()  # 2**-k
    if dropped is not None:
        scale = select(dropped, 0.0, scale)
    if dtype == "float32":
        return k, fma(left, scale, f), None
    return k, *fast_two_sum(f, left * scale)


def log1p(x: Vector) -> Vector:
    """Return log(1 + x); what 1 + x drops of x is carried into f, which for k = 0 is x itself."""
    total, left = two_sum(1.0, x)
    value = joined(*split_sum(total, left, x > 2.0**64))
    value = select(x > -1.0, select(x < inf, value, x), select(x.equals(-1.0), -inf, nan))
    return copysign(value, x)


def one_plus(parts: Reduced) -> Split:
    """Return the parts of 1 + 2**n e**r, n not positive; in float64 with what rounding e**r left out."""
    form = format_of(parts.r)
    above = fma(parts.square, parts.polynomial, parts.r)
    lead = above + 1.0
    power = scaled(lead, parts.shifted)
    total = power + 1.0
    left = power - (total - 1.0)
    if parts.r.body.dtype == "float64":
        unit = power_of_two(larger(parts.shifted, form.magic - 1022.0).as_bits())
        left = fma(above - (lead - 1.0), unit, left)
    return split_sum(total, left)


def ordered(x: Vector, y: Vector) -> tuple[Vector, Vector, Vector]:
    """Return the larger of two numbers and the difference to it, in two numbers; equal infinities differ by zero.

    Where the difference is so large that only the larger number counts, its rest may be too, and is left out.
    """
    swap = x > y
    largest, smallest = select(swap, x, y), select(swap, y, x)
    difference, rest = two_sum(smallest, -largest)
    return largest, select(x.equals(y), 0.0, difference), select(difference > -2000.0, rest, 0.0)


def logaddexp(x: Vector, y: Vector) -> Vector:
    """Return log(e**x + e**y): the larger one plus log(1 + e**-|x - y|)."""
    largest, difference, rest = ordered(x, y)
    return largest + joined(*one_plus(reduced(larger(difference, format_of(x).lowest), rest)))


def logaddexp2(x: Vector, y: Vector) -> Vector:
    """Return log2(2**x + 2**y)."""
    largest, difference, rest = ordered(x, y)
    return largest + joined_in_base_2(*one_plus(reduced_in_base_2(difference, rest)))


def log_expit(x: Vector) -> Vector:
    """Return log(1 / (1 + e**-x))."""
    rest = joined(*one_plus(reduced(larger(-abs(x), format_of(x).lowest))))
    return select(x < 0.0, x - rest, -rest)


def xlogy(x: Vector, y: Vector) -> Vector:
    """Return x log(y), 0 where x is 0 and y not NaN."""
    return select(x.equals(0.0) & ~y.unordered(y), 0.0, x * log(y))


def xlog1py(x: Vector, y: Vector) -> Vector:
    """Return x log(1 + y), 0 where x is 0 and y not NaN."""
    return select(x.equals(0.0) & ~y.unordered(y), 0.0, x * log1p(y))


def entr(x: Vector) -> Vector:
    """Return -x log(x), 0 at 0 and -inf below."""
    return select(x.equals(0.0), 0.0, select(x < 0.0, -inf, -x * log(x)))


FUNCTIONS: Final[dict[str, Function]] = {
    "log": log, "log2": log2, "log10": log10, "log1p": log1p, "logaddexp": logaddexp, "logaddexp2": logaddexp2,
    "log_expit": log_expit, "xlogy": xlogy, "xlog1py": xlog1py, "entr": entr,
}  # fmt: skip
