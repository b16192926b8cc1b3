"""Elementwise kernels; what the standard lacks is built from what it has."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import array_api_strict as xp

from gradloom_strict.arrays import (
    annihilating_multiply,
    cast,
    full,
    identity,
    kind,
    numeric,
    strict_dtype,
)

Binary = Callable[[Any, Any], Any]


def with_booleans(function: Binary, logical: Binary) -> Binary:
    """Return a function that takes booleans too, as NumPy's does."""

    def kernel(x: Any, y: Any) -> Any:
        return logical(x, y) if x.dtype == xp.bool == y.dtype else function(x, y)

    return kernel


def comparison(function: Binary) -> Binary:
    """Return an order relation that takes booleans too, and complex numbers: real parts first."""

    def kernel(x: Any, y: Any) -> Any:
        if kind(x) != "c":
            return function(numeric(x), numeric(y))
        same = xp.real(x) == xp.real(y)
        return xp.where(same, function(xp.imag(x), xp.imag(y)), function(xp.real(x), xp.real(y)))

    return kernel


def logical(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a logical function of numbers."""

    def kernel(*args: Any) -> Any:
        return function(*[x if x.dtype == xp.bool else x != 0 for x in args])

    return kernel


def unless(kinds: str, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a function that leaves arrays of some kinds as they are."""

    def kernel(x: Any) -> Any:
        return x if kind(x) in kinds else function(x)

    return kernel


def absolute(x: Any) -> Any:
    return x if x.dtype == xp.bool else xp.abs(x)


def imag(x: Any) -> Any:
    return xp.imag(x) if kind(x) == "c" else xp.zeros_like(x)


def cbrt(x: Any) -> Any:
    return xp.copysign(xp.pow(xp.abs(x), 1 / 3), x)


def exp2(x: Any) -> Any:
    return xp.pow(full((), 2, x.dtype), x)


def expit(x: Any) -> Any:
    return 1.0 / (1.0 + xp.exp(-x))


def logaddexp2(x: Any, y: Any) -> Any:
    top = xp.maximum(x, y)
    rest = xp.log1p(exp2(-xp.abs(x - y))) / math.log(2)
    return xp.where(x == y, top + 1.0, top + rest)


def fmod(x: Any, y: Any) -> Any:
    if kind(x) == "u":
        return xp.remainder(x, y)
    rest = xp.remainder(xp.abs(x), xp.abs(y))
    return xp.copysign(rest, x) if kind(x) == "f" else xp.where(x < 0, -rest, rest)


def gcd(x: Any, y: Any) -> Any:
    x, y = xp.broadcast_arrays(x, y)
    if kind(x) == "i":
        x, y = xp.abs(x), xp.abs(y)
    while bool(xp.any(y != 0)):
        rest = xp.where(y != 0, xp.remainder(x, xp.where(y != 0, y, xp.ones_like(y))), y)
        x, y = xp.where(y != 0, y, x), rest
    return x


def lcm(x: Any, y: Any) -> Any:
    divisor = gcd(x, y)
    product = xp.floor_divide(x, xp.where(divisor != 0, divisor, xp.ones_like(divisor))) * y
    return xp.abs(product) if kind(product) == "i" else product


def heaviside(x: Any, h: Any) -> Any:
    one = full((), 1, x.dtype)
    return xp.where(x > 0, one, xp.where(x < 0, one * 0, xp.where(xp.isnan(x), x, h)))


def spacing(x: Any) -> Any:
    return xp.nextafter(x, xp.copysign(full((), math.inf, x.dtype), x)) - x


def ldexp(x: Any, n: Any) -> Any:
    # In two halves, so that no factor overflows before the product does.
    half = xp.floor_divide(n, 2)
    return x * exp2(cast(half, x.dtype)) * exp2(cast(n - half, x.dtype))


def binary_exponent(x: Any) -> Any:
    usable = xp.logical_and(xp.isfinite(x), x != 0)
    size = xp.where(usable, xp.abs(x), xp.ones_like(x))
    exponent = xp.floor(xp.log2(size)) + 1.0
    mantissa = ldexp(size, cast(-exponent, xp.int32))
    exponent = exponent + xp.where(mantissa >= 1.0, xp.ones_like(x), xp.zeros_like(x))
    exponent = exponent - xp.where(mantissa < 0.5, xp.ones_like(x), xp.zeros_like(x))
    return cast(xp.where(usable, exponent, xp.zeros_like(x)), xp.int32)


def bitwise_count(x: Any) -> Any:
    rest = xp.abs(x) if kind(x) == "i" else x
    rest = xp.astype(rest, xp.uint64)
    count = xp.zeros_like(rest)
    for _ in range(64):
        count = count + xp.remainder(rest, 2)
        rest = xp.floor_divide(rest, 2)
    return xp.astype(count, xp.uint8)


def ignoring_nan(function: Binary) -> Binary:
    """Return a maximum or minimum that prefers numbers to NaN."""

    def kernel(x: Any, y: Any) -> Any:
        best = function(x, y)
        if kind(best) not in "fc":
            return best
        return xp.where(xp.isnan(x), y + 0 * x if kind(x) == "c" else y, xp.where(xp.isnan(y), x, best))

    return kernel


def round(x: Any, *, decimals: int) -> Any:
    if kind(x) in "iu" and decimals >= 0:
        return +x
    factor = 10.0 ** abs(decimals)
    if kind(x) in "iu":
        step = int(factor)
        return cast(xp.round(cast(x, xp.float64) / factor), x.dtype) * step
    return xp.round(x * factor) / factor if decimals >= 0 else xp.round(x / factor) * factor


def complex_safe_max(function: Binary, larger: Binary) -> Binary:
    """Return a maximum or minimum that orders complex numbers as NumPy does."""

    def kernel(x: Any, y: Any) -> Any:
        if kind(x) != "c":
            return function(numeric(x), numeric(y)) if x.dtype != xp.bool else larger(x, y)
        first = xp.logical_or(
            larger(xp.real(x), xp.real(y)),
            xp.logical_and(xp.real(x) == xp.real(y), larger(xp.imag(x), xp.imag(y))),
        )
        best = xp.where(first, x, y)
        return xp.where(xp.isnan(x), x, xp.where(xp.isnan(y), y, best))

    return kernel


def boolean_or(x: Any, y: Any) -> Any:
    return xp.logical_or(x, y) if x.dtype == xp.bool else x >= y


def boolean_and(x: Any, y: Any) -> Any:
    return xp.logical_and(x, y) if x.dtype == xp.bool else x <= y


def astype(x: Any, *, dtype: Any) -> Any:
    return cast(x, strict_dtype(dtype))


def fitted(x: Any, *, dtype: Any) -> Any:
    out = astype(x, dtype=dtype)
    if not xp.all(cast(out, x.dtype) == x):
        raise OverflowError(f"an integer is out of bounds for {dtype}")
    return out


maximum = complex_safe_max(xp.maximum, boolean_or)
minimum = complex_safe_max(xp.minimum, boolean_and)

KERNELS: dict[str, Any] = {
    "astype": astype,
    "fitted": fitted,
    "stop_gradient": identity,
    "annihilating_multiply": annihilating_multiply,
    "add": with_booleans(operator.add, xp.logical_or),
    "subtract": operator.sub,
    "multiply": with_booleans(operator.mul, xp.logical_and),
    "divide": operator.truediv,
    "negative": operator.neg,
    "positive": unless("b", xp.positive),
    "reciprocal": lambda x: xp.reciprocal(x) if kind(x) in "fc" else cast(xp.trunc(1.0 / cast(x, xp.float64)), x.dtype),
    "square": unless("b", xp.square),
    "sqrt": xp.sqrt,
    "cbrt": cbrt,
    "power": xp.pow,
    "hypot": xp.hypot,
    "floor_divide": xp.floor_divide,
    "remainder": xp.remainder,
    "fmod": fmod,
    "gcd": gcd,
    "lcm": lcm,
    "floor": unless("biu", xp.floor),
    "ceil": unless("biu", xp.ceil),
    "trunc": unless("biu", xp.trunc),
    "rint": xp.round,
    "round": round,
    "sign": xp.sign,
    "absolute": absolute,
    "copysign": xp.copysign,
    "heaviside": heaviside,
    "nextafter": xp.nextafter,
    "spacing": spacing,
    "ldexp": ldexp,
    "binary_exponent": binary_exponent,
    "real": lambda x: xp.real(x) if kind(x) == "c" else x,
    "imag": imag,
    "conjugate": lambda x: xp.conj(x) if kind(x) == "c" else x,
    "exp": xp.exp,
    "exp2": exp2,
    "expm1": xp.expm1,
    "log": xp.log,
    "log2": xp.log2,
    "log10": xp.log10,
    "log1p": xp.log1p,
    "expit": expit,
    "logaddexp": xp.logaddexp,
    "logaddexp2": logaddexp2,
    "sin": xp.sin,
    "cos": xp.cos,
    "tan": xp.tan,
    "arcsin": xp.asin,
    "arccos": xp.acos,
    "arctan": xp.atan,
    "arctan2": xp.atan2,
    "sinh": xp.sinh,
    "cosh": xp.cosh,
    "tanh": xp.tanh,
    "arcsinh": xp.asinh,
    "arccosh": xp.acosh,
    "arctanh": xp.atanh,
    "where": lambda condition, x, y: xp.where(condition if condition.dtype == xp.bool else condition != 0, x, y),
    "maximum": maximum,
    "minimum": minimum,
    "fmax": ignoring_nan(maximum),
    "fmin": ignoring_nan(minimum),
    "equal": xp.equal,
    "not_equal": xp.not_equal,
    "less": comparison(xp.less),
    "less_equal": comparison(xp.less_equal),
    "greater": comparison(xp.greater),
    "greater_equal": comparison(xp.greater_equal),
    "logical_and": logical(xp.logical_and),
    "logical_or": logical(xp.logical_or),
    "logical_xor": logical(xp.logical_xor),
    "logical_not": logical(xp.logical_not),
    "isnan": lambda x: xp.isnan(numeric(x)),
    "isinf": lambda x: xp.isinf(numeric(x)),
    "isfinite": lambda x: xp.isfinite(numeric(x)),
    "signbit": lambda x: xp.signbit(x) if kind(x) == "f" else numeric(x) < 0,
    "bitwise_and": xp.bitwise_and,
    "bitwise_or": xp.bitwise_or,
    "bitwise_xor": xp.bitwise_xor,
    "invert": xp.bitwise_invert,
    "left_shift": xp.bitwise_left_shift,
    "right_shift": xp.bitwise_right_shift,
    "bitwise_count": bitwise_count,
}
