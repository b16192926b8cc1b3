"""Traced counterparts of NumPy's elementwise functions, written from ops."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError
from gradloom.ops import arithmetic as ops
from gradloom.ops._elementwise import resolve_dtypes
from gradloom.ops.cast import astype, fitted
from gradloom.ops.complex import complex, imag, real
from gradloom.ops.selection import maximum, minimum, where
from gradloom.ops.special import i0
from gradloom.spec import PYTHON_SCALARS, Spec
from gradloom.trace import Handle

Tensor = Any


def cast_inputs(ufunc: np.ufunc, *args: Any) -> list[Any]:
    """Cast arguments to the dtypes in which a ufunc computes."""
    specs = [_spec(x) for x in args]
    dtypes = resolve_dtypes(ufunc, ufunc.__name__, tuple(specs))
    return [
        x if s.dtype == d or s.weak else np.astype(np.asarray(x) if type(x) is bool else x, d)
        for x, s, d in zip(args, specs, dtypes, strict=False)
    ]


def _spec(x: Any) -> Spec:
    return PYTHON_SCALARS.get(type(x)) or Spec(np.shape(x), x.dtype)


# -- powers, quotients and parts of floats -----------------------------------------------------


@implements(operator.pow)
def power_operator(x: Any, y: Any) -> Tensor:
    """Return ``x ** y``; simple literal exponents take the op that NumPy takes."""
    kind = _kind(x)
    if kind and type(y) in (int, float) and (kind in "fc" or (y == 2 and type(y) is int)):
        if y == 2:
            return ops.square(x)
        if y == 1 and kind == "f":
            return ops.positive(x)
        if y == 0.5:
            return ops.sqrt(x)
        if y == -1:
            return ops.reciprocal(x)
    return ops.power(x, y)


@implements(np.power)
def np_power(x: Any, y: Any) -> Tensor:
    """Return a power, which is ``x ** y`` but for the dtype of booleans and for complex infinities and zeros."""
    return ops.power(x, y) if _kind(x) in ("b", "c") else power_operator(x, y)


def _kind(x: Any) -> str:
    """Return the kind of a traced value's dtype; nothing for others."""
    return x.spec.dtype.kind if isinstance(x, Handle) else ""


@implements(np.float_power)
def np_float_power(x: Any, y: Any) -> Tensor:
    """Return a power in at least double precision."""
    return np_power(*cast_inputs(np.float_power, x, y))


@implements(np.divmod)
def np_divmod(x: Any, y: Any) -> tuple[Tensor, Tensor]:
    """Return quotient and remainder."""
    return ops.floor_divide(x, y), ops.remainder(x, y)


@implements(np.modf)
def np_modf(x: Any) -> tuple[Tensor, Tensor]:
    """Return fractional and integral part, both with the sign of x."""
    (x,) = cast_inputs(np.modf, x)
    whole = ops.trunc(x)
    return ops.copysign(where(np.isinf(x), 0.0, x - whole), x), whole


@implements(np.frexp)
def np_frexp(x: Any) -> tuple[Tensor, Tensor]:
    """Return mantissa and binary exponent."""
    (x,) = cast_inputs(np.frexp, x)
    exponent = ops.binary_exponent(x)
    return ops.ldexp(x, -exponent), exponent


@implements(np.fabs)
def np_fabs(x: Any) -> Tensor:
    """Return the absolute value of floats."""
    return ops.absolute(*cast_inputs(np.fabs, x))


@implements(np.deg2rad, np.radians)
def np_deg2rad(x: Any) -> Tensor:
    """Convert degrees to radians."""
    return cast_inputs(np.deg2rad, x)[0] * (math.pi / 180.0)


@implements(np.rad2deg, np.degrees)
def np_rad2deg(x: Any) -> Tensor:
    """Convert radians to degrees."""
    return cast_inputs(np.rad2deg, x)[0] * (180.0 / math.pi)


# -- rounding -----------------------------------------------------------------------------------


@implements(np.round, np.around)
def np_round(a: Any, decimals: int = 0, out: Any = None) -> Tensor:
    """Round to some decimals."""
    refuse("numpy.round", out=out)
    decimals = operator.index(decimals)
    if decimals == 0 and a.dtype.kind in "fc":
        return ops.rint(a)
    return ops.round(a, decimals=decimals)


def np_fix(x: Any, out: Any = None) -> Tensor:
    """Round towards zero."""
    refuse("numpy.fix", out=out)
    return ops.trunc(x)


if hasattr(np, "fix"):  # NumPy 2.5 deprecates it
    implements(np.fix)(np_fix)


# -- choosing values ------------------------------------------------------------------------------


@implements(np.where)
def np_where(condition: Any, x: Any = None, y: Any = None, /) -> Any:
    """Choose elements from two arrays; with one argument, return where it is true."""
    if x is None and y is None:
        return np.nonzero(condition)
    return where(condition, x, y)


_NOT_GIVEN: Any = object()


@implements(np.clip)
def np_clip(
    a: Any,
    a_min: Any = _NOT_GIVEN,
    a_max: Any = _NOT_GIVEN,
    out: Any = None,
    *,
    min: Any = _NOT_GIVEN,
    max: Any = _NOT_GIVEN,
    **kwargs: Any,
) -> Tensor:
    """Limit values; at a limit, value and limit share the derivative evenly."""
    refuse("numpy.clip", out=out, dtype=kwargs.pop("dtype", None), where=(kwargs.pop("where", True), True), **kwargs)
    if (a_min is not _NOT_GIVEN or a_max is not _NOT_GIVEN) and (min is not _NOT_GIVEN or max is not _NOT_GIVEN):
        raise ArgumentError(
            "limits given twice",
            op="numpy.clip",
            argument="min, max",
            expected="a_min and a_max, or min and max",
            got="both",
            remedy="leave out min and max",
        )
    low = a_min if min is _NOT_GIVEN else min
    high = a_max if max is _NOT_GIVEN else max
    # As in NumPy, an integer that the dtype cannot reach is no limit.
    whole = np.iinfo(a.dtype) if a.dtype.kind in "iu" else None
    if low is not _NOT_GIVEN and low is not None and not (whole and type(low) is int and low <= whole.min):
        a = np.maximum(a, maximum(low, int(whole.min)) if whole and _is_whole(low) else low)
    if high is not _NOT_GIVEN and high is not None and not (whole and type(high) is int and high >= whole.max):
        within = whole and _is_whole(high) and whole.max <= np.iinfo(np.int64).max
        a = np.minimum(a, minimum(high, int(whole.max)) if whole and within else high)
    if isinstance(a, Handle):
        a = np.copy(a) if a.spec.dtype == bool else ops.positive(a)  # type: ignore[call-overload]
    return a


def _is_whole(x: Any) -> bool:
    """Return whether a value is a Python integer of a trace, or computed of some."""
    return isinstance(x, Handle) and x.spec.weak and x.spec.dtype.kind == "i"


@implements(np.select)
def np_select(condlist: Any, choicelist: Any, default: Any = 0) -> Tensor:
    """Take each element from the choice of the first condition that holds."""
    if len(condlist) != len(choicelist) or not len(condlist):
        raise ArgumentError(
            "conditions and choices differ in number, or there are none",
            op="numpy.select",
            argument="choicelist",
            expected="one choice for each condition",
            got=f"{len(condlist)} and {len(choicelist)}",
            remedy="pass two lists of the same length, 1 or more; what is left goes into default",
        )
    result = default
    for condition, choice in zip(reversed(list(condlist)), reversed(list(choicelist)), strict=True):
        if np.result_type(condition) != np.bool_:
            raise ArgumentError(
                "a condition is not boolean",
                op="numpy.select",
                argument="condlist",
                expected="boolean arrays",
                got=f"dtype {np.result_type(condition)}",
                remedy="compare, as in x != 0",
            )
        result = np.where(condition, choice, result)
    return result


@implements(np.piecewise)
def np_piecewise(x: Any, condlist: Any, funclist: Any, *args: Any, **kw: Any) -> Tensor:
    """Evaluate one function on each part of the domain.

    Every function is evaluated everywhere, then chosen from; a part that is not chosen
    contributes exactly zero to the gradient.
    """
    condlist = _conditions(condlist, x)
    functions = list(funclist)
    if len(functions) not in (len(condlist), len(condlist) + 1):
        raise ArgumentError(
            "conditions and functions differ in number",
            op="numpy.piecewise",
            argument="funclist",
            expected=f"{len(condlist)} functions, or one more for the rest",
            got=len(functions),
            remedy="write np.where(condition, a, b) where there is one condition",
        )
    rest = functions.pop() if len(functions) > len(condlist) else 0
    result = _stored_in(x, rest(x, *args, **kw) if callable(rest) else rest)
    # Where several conditions hold, the last one counts.
    for condition, function in zip(condlist, functions, strict=True):
        value = function(x, *args, **kw) if callable(function) else function
        result = where(condition, _stored_in(x, value), result)
    return result if result.shape == x.shape else np.broadcast_to(result, x.shape)


def _conditions(condlist: Any, x: Tensor) -> list[Any]:
    """Return the conditions of `numpy.piecewise`; a single one may come without a list."""
    if isinstance(condlist, (bool, np.bool_)):
        return [condlist]
    if hasattr(condlist, "ndim"):
        single = condlist.ndim == 0 or (condlist.ndim == 1 and x.ndim > 0)
        return [condlist] if single else list(condlist)
    return [np.asarray(condlist)] if x.ndim and np.ndim(condlist[0]) == 0 else list(condlist)


def _stored_in(x: Tensor, value: Any) -> Any:
    """Cast a value as assigning it to an element of an array would."""
    return np_astype(value, x.dtype) if isinstance(value, Handle) else np.asarray(value, x.dtype)


@implements(np.nan_to_num)
def np_nan_to_num(x: Any, copy: bool = True, nan: Any = 0.0, posinf: Any = None, neginf: Any = None) -> Tensor:
    """Replace NaN and infinities by finite numbers; those carry no derivative to x."""
    refuse("numpy.nan_to_num", copy=(copy, True))
    if x.dtype.kind not in "fc":
        return x.copy()
    if x.dtype.kind == "c":
        return complex(*[np_nan_to_num(part, nan=nan, posinf=posinf, neginf=neginf) for part in (real(x), imag(x))])
    limits = np.finfo(x.dtype)
    high = float(limits.max) if posinf is None else posinf
    low = float(limits.min) if neginf is None else neginf
    result = where(np.isnan(x), nan, x)
    result = where(x == math.inf, high, result)
    return where(x == -math.inf, low, result)


# -- special values and functions -------------------------------------------------------------------


@implements(np.isposinf)
def np_isposinf(x: Any, out: Any = None) -> Tensor:
    """Return where a value is positive infinity."""
    refuse("numpy.isposinf", out=out)
    return x == math.inf


@implements(np.isneginf)
def np_isneginf(x: Any, out: Any = None) -> Tensor:
    """Return where a value is negative infinity."""
    refuse("numpy.isneginf", out=out)
    return x == -math.inf


# sin(y) / y with y = pi x. Its derivatives at y are quotients of ever smaller numbers as y goes to
# zero; there the Maclaurin series, sum of (-1)^k y^2k / (2k+1)!, serves instead.
@implements(np.sinc)
def np_sinc(x: Any) -> Tensor:
    """Return ``sin(pi x) / (pi x)``."""
    y = math.pi * x
    near = ops.absolute(y) < 1.5
    squared = ops.square(where(near, y, 0.0))
    series: Any = 0.0
    for k in range(12, -1, -1):
        series = series * squared + (-1.0) ** k / math.factorial(2 * k + 1)
    far = where(near, 1.0, y)
    return where(near, series, np.sin(far) / far)


@implements(np.i0)
def np_i0(x: Any) -> Tensor:
    """Return the modified Bessel function of order zero."""
    return np.astype(i0(x), x.dtype) if x.dtype == np.float16 else i0(x)


@implements(np.unwrap)
def np_unwrap(p: Any, discont: Any = None, axis: int = -1, *, period: Any = 2 * math.pi) -> Tensor:
    """Take jumps of more than half a period out of a sequence of angles."""
    steps = np.diff(p, axis=axis)
    dtype = np.result_type(steps.dtype, period)
    half = period // 2 if dtype.kind in "iu" else period / 2
    wrapped = np.mod(steps + half, period) - half
    if dtype.kind not in "iu" or period % 2 == 0:  # both ends of the period are the same
        wrapped = np.where((wrapped == -half) & (steps > 0), half, wrapped)
    jump = np.where(ops.absolute(steps) < (period / 2 if discont is None else discont), 0, wrapped - steps)
    first = np.zeros_like(np.take(p, np.array([0]), axis=axis), dtype=dtype)
    turns = np.concatenate([first, np.astype(np.cumsum(jump, axis=axis), dtype)], axis=axis)
    return np.astype(p, dtype) + turns


@implements(np.astype)
def np_astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """Cast to a dtype."""
    refuse("numpy.astype", device=device)
    dtype = np.dtype(dtype)
    if x.dtype == dtype:
        return x.copy() if copy else x
    return fitted(x, dtype=dtype) if dtype.kind in "iu" and _is_whole(x) else astype(x, dtype=dtype)
