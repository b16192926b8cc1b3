"""Arc functions: argument brought near zero by an identity, then an odd polynomial."""

from __future__ import annotations

from math import inf, nan
from typing import Final

from gradloom_llvm.vectormath._text import (
    Function,
    Vector,
    copysign,
    fast_two_sum,
    fma,
    polynomial,
    quotient,
    select,
    smaller,
    sqrt,
)
from gradloom_llvm.vectormath.coefficients import ARCSIN, ARCTAN
from gradloom_llvm.vectormath.trigonometric import HALF_PI

#: tan(pi/8): arctan of what lies beyond is taken from pi/4 (or pi/2).
TAN_EIGHTH_PI: Final = 0.41421356237309503


def folded(x: Vector) -> tuple[Vector, Vector, Vector]:
    """Return the mask |x| > 1/2, s and arcsin(s) - s, with s = |x|, or sqrt((1 - |x|) / 2) where the mask is set."""
    size = abs(x)
    outer = size > 0.5
    square = select(outer, (1.0 - size) * 0.5, size * size)  # negative beyond 1: its root is NaN
    s = select(outer, sqrt(square), size)
    return outer, s, s * square * polynomial(square, ARCSIN[x.body.dtype])


def arcsin(x: Vector) -> Vector:
    """Return arcsin x; beyond 1/2 as pi/2 - 2 arcsin(sqrt((1 - x) / 2))."""
    outer, s, rest = folded(x)
    lead, left = fast_two_sum(HALF_PI[x.body.dtype][0], s * -2.0)
    beyond = lead + (left - fma(rest, 2.0, -HALF_PI[x.body.dtype][1]))
    return copysign(select(outer, beyond, s + rest), x)


def arccos(x: Vector) -> Vector:
    """Return arccos x as base - lead - rest: pi/2 - arcsin x, 2 arcsin s (base 0) or pi - 2 arcsin s."""
    outer, s, rest = folded(x)
    high, low, _ = HALF_PI[x.body.dtype]
    sign = select(outer, -x, x)
    lead = copysign(select(outer, s + s, s), sign)
    rest = copysign(select(outer, rest + rest, rest), sign)
    turns = select(outer, select(x > 0.0, 0.0, 2.0), 1.0)  # of pi/2
    base = turns * high
    total = base - lead
    left = (base - total) - lead
    return total + (left - (rest - turns * low))


def odd_arctan(t: Vector) -> Vector:
    """Return arctan(t) - t of |t| <= tan(pi/8)."""
    square = t * t
    return t * square * polynomial(square, ARCTAN[t.body.dtype])


def arctan(x: Vector) -> Vector:
    """Return arctan x: pi/2 + arctan(-1 / |x|), pi/4 + arctan((|x| - 1) / (|x| + 1)) or arctan |x|."""
    size = smaller(abs(x), 2.0**60)
    outer, inner = size > 1 / TAN_EIGHTH_PI, size <= TAN_EIGHTH_PI
    above, below = size - 1.0, size + 1.0
    above_rest, below_rest = size - (above + 1.0), size - (below - 1.0)
    t = quotient(
        select(inner, size, select(outer, -1.0, above)), select(inner, 1.0, select(outer, size, below)),
        select(inner | outer, 0.0, below_rest), select(inner | outer, 0.0, above_rest),
    )  # fmt: skip
    high, low, _ = HALF_PI[x.body.dtype]
    turns = select(inner | x.unordered(x), 0.0, select(outer, 1.0, 0.5))
    base = turns * high
    lead = base + t
    rest = (t - (lead - base)) + fma(turns, low, odd_arctan(t))
    return copysign(lead + rest, x)


def arctan2(y: Vector, x: Vector) -> Vector:
    """Return the angle of the point (x, y): k pi/4 plus or minus the arctangent of a number below tan(pi/8).

    With m <= M the sizes of the coordinates, the angle to the nearer axis is arctan(m / M), or
    pi/4 + arctan((m - M) / (m + M)); it is taken from pi/2 where y is larger, from pi where x is negative.
    """
    size_y, size_x = abs(y), abs(x)
    steep, equal = size_y > size_x, size_y.equals(size_x)
    most = select(steep, size_y, size_x)
    least = select(steep, size_x, size_y)
    power = select(most > 2.0**900, 2.0**-200, select(most < 2.0**-700, 2.0**300, 1.0))
    large, small = most * power, least * power
    diagonal = ((small > large * TAN_EIGHTH_PI) & (most < inf)) | (equal & (most > 0.0))
    degenerate = equal | most.equals(inf)
    above, below = small - large, small + large
    above_rest, below_rest = small - (above + large), small - (below - large)
    plain = (~diagonal) | degenerate
    t = quotient(
        select(degenerate, 0.0, select(diagonal, above, small)),
        select(degenerate, 1.0, select(diagonal, below, large)),
        select(plain, 0.0, below_rest),
        select(plain, 0.0, above_rest),
    )
    rest = odd_arctan(t)
    eighths = select(diagonal, 1.0, 0.0)
    left = negative_sign(x)
    eighths = select(steep, 2.0 - eighths, eighths)
    eighths = select(left, 4.0 - eighths, eighths)
    t, rest = (select(steep, -part, part) for part in (t, rest))
    t, rest = (select(left, -part, part) for part in (t, rest))
    high, low, _ = HALF_PI[x.body.dtype]
    base = eighths * (high / 2)
    base_rest = fma(eighths, low / 2, fma(eighths, high / 2, -base))
    lead = base + t
    value = copysign(lead + ((t - (lead - base)) + (rest + base_rest)), y)
    return select(x.unordered(y), nan, value)


def negative_sign(x: Vector) -> Vector:
    """Return the mask of lanes with a minus sign, that of -0 included."""
    return copysign(1.0, x) < 0.0


FUNCTIONS: Final[dict[str, Function]] = {"arcsin": arcsin, "arccos": arccos, "arctan": arctan, "arctan2": arctan2}

#: Functions whose float32 is computed in float64.
WIDE: Final = {"arctan2": "arctan2"}
