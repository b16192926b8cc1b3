"""What the vector functions are measured against, and where: NumPy in wider arithmetic, and mpmath."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import mpmath
import numpy as np
import scipy.special

Array = Any


class Uniform(NamedTuple):
    """Numbers drawn evenly."""

    low: float
    high: float


class Spread(NamedTuple):
    """Numbers of random size, their binary exponent drawn evenly, and random sign (or above a number)."""

    low: float = -1074.0
    high: float = 1024.0
    signed: bool = True
    above: float = 0.0


class Whole(NamedTuple):
    """Whole multiples of a step."""

    low: int
    high: int
    step: float = 1.0


Draw = Uniform | Spread | Whole


def wide(dtype: str) -> type:
    """Return the type in which a dtype's results are checked."""
    return np.float64 if dtype == "float32" else np.longdouble


def draw(random: np.random.Generator, dtype: str, way: Draw, count: int) -> Array:
    """Return random numbers of a dtype."""
    if isinstance(way, Uniform):
        numbers = random.uniform(way.low, way.high, count)
    elif isinstance(way, Whole):
        numbers = random.integers(way.low, way.high, count) * way.step
    else:
        limits = (-149.0, 127.99) if dtype == "float32" else (-1074.0, 1023.99)
        low, high = np.clip([way.low, way.high], *limits)
        sign = random.choice([-1.0, 1.0], count) if way.signed else 1.0
        numbers = way.above + sign * np.exp2(random.uniform(low, high, count))
    return numbers.astype(dtype)


def magnitude(near: Array, *arguments: Array) -> Array:
    """Return the size whose last place is the unit of error."""
    return np.abs(near)


def largest_term(near: Array, x: Array, y: Array) -> Array:
    """Return the largest of a sum and its two terms, the first being max(x, y): where they cancel, digits are lost."""
    largest = np.maximum(x, y)
    return np.maximum(np.maximum(np.abs(near), np.abs(largest)), np.abs(near - largest)).astype(near.dtype)


@dataclass(frozen=True)
class Oracle:
    """A function in wide arithmetic, in mpmath, and the ways to draw its arguments, a tuple for each."""

    function: Callable[..., Array]
    exact: Callable[..., Any]
    ranges: list[tuple[Draw, ...]]
    size: Callable[..., Array] = magnitude

    @property
    def arity(self) -> int:
        """Return the number of arguments."""
        return len(self.ranges[0])


def expit(x: Array) -> Array:
    power = np.exp(-np.abs(x))
    return np.where(x < 0, power, np.where(np.isnan(x), x, 1)) / (1 + power)


def log_expit(x: Array) -> Array:
    rest = np.log1p(np.exp(-np.abs(x)))
    return np.where(x < 0, x - rest, -rest)


def entr(x: Array) -> Array:
    return np.where(x == 0, 0, np.where(x < 0, -np.inf, -x * np.log(x)))


def xlogy(x: Array, y: Array) -> Array:
    return np.where((x == 0) & ~np.isnan(y), 0, x * np.log(y))


def xlog1py(x: Array, y: Array) -> Array:
    return np.where((x == 0) & ~np.isnan(y), 0, x * np.log1p(y))


def erf_series(x: Array) -> Array:
    """Return erf of |x| < 7 by 2/sqrt(pi) e**-x**2 times the sum of 2**n x**(2n+1) / (2n+1)!!: no term is negative."""
    twice_square = 2 * x * x
    term, total = x.copy(), x.copy()
    for n in range(1, 12 + int(3.3 * float(np.max(np.abs(x), initial=0)) ** 2) + 12):
        term *= twice_square
        term /= 2 * n + 1
        total += term
    return total * exp_of_square(x, 1) * 2 / np.sqrt(np.longdouble(np.pi) + np.longdouble(1.2246467991473532e-16))


def exp_of_square(x: Array, divisor: int) -> Array:
    """Return e**(-x**2 / divisor); x**2 = head**2 + (x - head) (x + head), head with few digits."""
    head = x.astype(np.float32).astype(x.dtype)
    return np.exp(-head * head / divisor) * np.exp(-(x - head) * (x + head) / divisor)


def erfc_fraction(x: Array) -> Array:
    """Return e**(x**2) erfc(x) of x >= 1 by Laplace's continued fraction."""
    root = np.sqrt(np.longdouble(np.pi) + np.longdouble(1.2246467991473532e-16))
    out = np.empty_like(x)
    for low, high, depth in ((1, 2, 300), (2, 4, 80), (4, np.inf, 24)):
        where = (x >= low) & (x < high)
        part = x[where]
        below = part.copy()
        for n in range(depth, 0, -1):
            np.divide(n / 2, below, out=below)
            below += part
        out[where] = 1 / (root * below)
    return out


def erf(x: Array) -> Array:
    if x.dtype == np.float64:
        return scipy.special.erf(x)
    out = np.sign(x)
    for low, high in ((0, 1), (1, 3), (3, 7)):
        near = (np.abs(x) >= low) & (np.abs(x) < high)
        out[near] = erf_series(x[near])
    return out


def tail(x: Array, size: Array, divisor: int) -> Array:
    """Return erfc(size) of size >= 0, size**2 being x**2 / divisor."""
    out = 1 - erf(np.minimum(size, 1))
    far = size >= 1
    out[far] = erfc_fraction(np.minimum(size[far], 1e9)) * exp_of_square(x[far], divisor)
    return out


def erfc(x: Array) -> Array:
    if x.dtype == np.float64:
        return scipy.special.erfc(x)
    value = tail(np.clip(x, -200, 200), np.abs(x), 1)
    return np.where(x < 0, 2 - value, value)


def ndtr(x: Array) -> Array:
    if x.dtype == np.float64:
        return erfc(x * -np.sqrt(0.5)) / 2
    value = tail(np.clip(x, -300, 300), np.abs(x) * np.sqrt(np.longdouble(0.5)), 2) / 2
    return np.where(x > 0, 1 - value, value)


def exact_xlogy(x: Any, y: Any) -> Any:
    return x * mpmath.log(y) if x else x


def exact_xlog1py(x: Any, y: Any) -> Any:
    return x * mpmath.log1p(y) if x else x


def exact_logaddexp(x: Any, y: Any) -> Any:
    return max(x, y) + mpmath.log1p(mpmath.exp(-abs(x - y)))


def exact_logaddexp2(x: Any, y: Any) -> Any:
    return max(x, y) + mpmath.log1p(mpmath.power(2, -abs(x - y))) / mpmath.log(2)


ANY = (Spread(),)
UNIT = [(Uniform(-1, 1),), (Spread(-60, 0),), (Spread(-1074, 0),)]
EXPONENTS = [(Uniform(-2, 2),), (Uniform(-110, 95),), (Uniform(-750, 715),), (Spread(-40, 11),), ANY]
POSITIVE = [(Uniform(0, 4),), (Spread(-2, 2, signed=False),), (Spread(-1074, 1024, signed=False),), ANY]
ANGLES = [(Uniform(-7, 7),), (Uniform(-1000, 1000),), (Whole(-(10**6), 10**6, np.pi / 2),), (Spread(-30, 45),), ANY]
PAIRS: list[tuple[Draw, ...]] = [
    (Uniform(-4, 4), Uniform(-4, 4)), (Spread(-4, 4), Spread(-4, 4)), (Spread(), Spread()),
    (Spread(-1074, -1000), Spread(-1074, -1000)),
]  # fmt: skip
SUMS: list[tuple[Draw, ...]] = [
    (Uniform(-4, 4), Uniform(-4, 4)), (Spread(-10, 10), Spread(-10, 10)), (Spread(), Spread()),
]  # fmt: skip
PRODUCTS: list[tuple[Draw, ...]] = [
    (Uniform(-4, 4), Uniform(-1, 4)), (Spread(-9, 9), Spread(-30, 30)), (Spread(), Spread()),
]  # fmt: skip
POWERS: list[tuple[Draw, ...]] = [
    (Uniform(0, 4), Uniform(-6, 6)), (Spread(-1074, 1024, signed=False), Spread(-12, 12)),
    (Uniform(0.9, 1.1), Uniform(-7000, 7000)), (Whole(-99, 99), Whole(-99, 99)), (Spread(), Spread()),
]  # fmt: skip

ORACLES: dict[str, Oracle] = {
    "exp": Oracle(np.exp, mpmath.exp, EXPONENTS),
    "exp2": Oracle(np.exp2, lambda x: mpmath.power(2, x), [*EXPONENTS, (Uniform(-1080, 1030),)]),
    "expm1": Oracle(np.expm1, mpmath.expm1, EXPONENTS),
    "expit": Oracle(expit, lambda x: 1 / (1 + mpmath.exp(-x)), EXPONENTS),
    "tanh": Oracle(np.tanh, mpmath.tanh, [(Uniform(-2, 2),), (Uniform(-22, 22),), ANY]),
    "sinh": Oracle(np.sinh, mpmath.sinh, EXPONENTS),
    "cosh": Oracle(np.cosh, mpmath.cosh, EXPONENTS),
    "log": Oracle(np.log, mpmath.log, POSITIVE),
    "log2": Oracle(np.log2, lambda x: mpmath.log(x, 2), POSITIVE),
    "log10": Oracle(np.log10, mpmath.log10, POSITIVE),
    "log1p": Oracle(np.log1p, mpmath.log1p, [(Uniform(-1, 4),), (Spread(-60, 2),), ANY]),
    "log_expit": Oracle(log_expit, lambda x: -mpmath.log1p(mpmath.exp(-x)), EXPONENTS),
    "entr": Oracle(entr, lambda x: -x * mpmath.log(x) if x else x, POSITIVE),
    "xlogy": Oracle(xlogy, exact_xlogy, PRODUCTS),
    "xlog1py": Oracle(xlog1py, exact_xlog1py, PRODUCTS),
    "logaddexp": Oracle(np.logaddexp, exact_logaddexp, SUMS, size=largest_term),
    "logaddexp2": Oracle(np.logaddexp2, exact_logaddexp2, SUMS, size=largest_term),
    "sin": Oracle(np.sin, mpmath.sin, ANGLES),
    "cos": Oracle(np.cos, mpmath.cos, ANGLES),
    "tan": Oracle(np.tan, mpmath.tan, ANGLES),
    "arcsin": Oracle(np.arcsin, mpmath.asin, UNIT),
    "arccos": Oracle(np.arccos, mpmath.acos, UNIT),
    "arctan": Oracle(np.arctan, mpmath.atan, [(Uniform(-4, 4),), (Spread(-4, 4),), ANY]),
    "arctan2": Oracle(np.arctan2, mpmath.atan2, PAIRS),
    "arcsinh": Oracle(np.arcsinh, mpmath.asinh, [(Uniform(-4, 4),), (Spread(-30, 30),), ANY]),
    "arccosh": Oracle(np.arccosh, mpmath.acosh, [(Uniform(1, 5),), (Spread(-52, 30, False, 1.0),), ANY]),
    "arctanh": Oracle(np.arctanh, mpmath.atanh, UNIT),
    "power": Oracle(np.power, mpmath.power, POWERS),
    "cbrt": Oracle(np.cbrt, lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)), [(Uniform(-9, 9),), ANY]),
    "hypot": Oracle(np.hypot, mpmath.hypot, PAIRS),
    "erf": Oracle(erf, mpmath.erf, [(Uniform(-6, 6),), (Uniform(-1, 1),), (Spread(-1074, 3),)]),
    "erfc": Oracle(erfc, mpmath.erfc, [(Uniform(-6, 28),), (Uniform(-2, 10),), (Spread(-60, 3),)]),
    "ndtr": Oracle(ndtr, mpmath.ncdf, [(Uniform(-39, 9),), (Uniform(-14, 3),), (Spread(-60, 3),)]),
}
