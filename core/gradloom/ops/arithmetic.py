"""Arithmetic ops: sums, products, powers, quotients with remainder, and rounding."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.dispatch import implements_ufunc
from gradloom.errors import DTypeError
from gradloom.op import define
from gradloom.ops._elementwise import elementwise
from gradloom.ops.selection import where
from gradloom.spec import Spec

Tensor = Any


def unit_partial(out: Tensor, x: Tensor, *others: Tensor) -> float:
    return 1.0


def minus_unit_partial(out: Tensor, x: Tensor, *others: Tensor) -> float:
    return -1.0


def zero_partial(out: Tensor, x: Tensor, *others: Tensor) -> float:
    return 0.0


add = elementwise("add", np.add, unit_partial, unit_partial)
subtract = elementwise("subtract", np.subtract, unit_partial, minus_unit_partial)
negative = elementwise("negative", np.negative, minus_unit_partial)
positive = elementwise("positive", np.positive, unit_partial)


def multiply_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return y


def multiply_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return x


multiply = elementwise("multiply", np.multiply, multiply_partial_x, multiply_partial_y)


# In forward mode the tangent of y may be infinite where x is zero, and the product is zero for
# every y there; in reverse mode it is the cotangent. So in the derivative to y either zero wins.
#: ``x * y``, but exactly zero where either factor is exactly zero, also when the other is inf or
#: NaN. It is an op because ``where(x == 0, ...)`` would lose the derivative to x there.
annihilating_multiply = elementwise(
    "annihilating_multiply", np.multiply, multiply_partial_x, multiply_partial_y, public=False
)


def divide_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return 1.0 / y


def divide_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return -out / y


divide = elementwise("divide", np.divide, divide_partial_x, divide_partial_y)


def reciprocal_partial(out: Tensor, x: Tensor) -> Tensor:
    return -square(out)


reciprocal = elementwise("reciprocal", np.reciprocal, reciprocal_partial)


# -- powers and roots --------------------------------------------------------------------


def square_partial(out: Tensor, x: Tensor) -> Tensor:
    return 2.0 * x


square = elementwise("square", np.square, square_partial)


def sqrt_partial(out: Tensor, x: Tensor) -> Tensor:
    return 0.5 / out


sqrt = elementwise("sqrt", np.sqrt, sqrt_partial)


def cbrt_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / (3.0 * square(out))


cbrt = elementwise("cbrt", np.cbrt, cbrt_partial, special="cbrt")


# d x^y / dx = y x^(y-1). Where y is zero the derivative is zero, also at x = 0, where
# x^(y-1) is infinite; a literal exponent settles that while tracing.
def power_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Any:
    exponent = y._trace.static(y._index)
    if exponent is None:
        return annihilating_multiply(y, power(x, y - 1))
    if exponent == 0 or exponent == 1:
        return float(exponent.real)
    if exponent == 2:
        return 2.0 * x
    return exponent * power(x, exponent - 1)


# d x^y / dy = x^y log x. At x = 0 the power is zero for every y > 0, so its derivative is zero;
# the same is agreed on for y = 0, where it does not exist.
def power_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return annihilating_multiply(out, where((x == 0) & (y >= 0), 0.0, np.log(x)))


power = elementwise("power", np.power, power_partial_x, power_partial_y, public=False)


def hypot_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return annihilating_multiply(x, 1.0 / out)


def hypot_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return annihilating_multiply(y, 1.0 / out)


#: The gradient at (0, 0) is the subgradient zero.
hypot = elementwise("hypot", np.hypot, hypot_partial_x, hypot_partial_y)


# -- quotients with remainder ---------------------------------------------------------------

floor_divide = elementwise("floor_divide", np.floor_divide, zero_derivative=True)


# x mod y = x - y floor(x / y), and floor is piecewise constant.
def remainder_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return -floor_divide(x, y)


remainder = elementwise("remainder", np.remainder, unit_partial, remainder_partial_y)


# fmod(x, y) = x - y trunc(x / y). The quotient is recovered from the exact remainder, because
# x / y may round to the next integer.
def fmod_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return rint((out - x) / y)


fmod = elementwise("fmod", np.fmod, unit_partial, fmod_partial_y)

gcd = elementwise("gcd", np.gcd, zero_derivative=True)
lcm = elementwise("lcm", np.lcm, zero_derivative=True)


# -- rounding ------------------------------------------------------------------------------

floor = elementwise("floor", np.floor, zero_derivative=True)
ceil = elementwise("ceil", np.ceil, zero_derivative=True)
trunc = elementwise("trunc", np.trunc, zero_derivative=True)
rint = elementwise("rint", np.rint, zero_derivative=True)


def round_spec(x: Spec, *, decimals: int) -> Spec:
    return x


#: ``numpy.round`` to some decimals; ``rint`` serves zero decimals of floats.
round = define("round", spec=round_spec, zero_derivative=True, elementwise=True)


# -- sign and size -------------------------------------------------------------------------


def sign_spec(x: Spec) -> Spec:
    if x.dtype.kind in "bc":
        raise DTypeError(
            "takes real numbers",
            argument="x",
            expected="integers or floats",
            got=str(x.dtype),
            remedy="use np.sign" if x.dtype.kind == "c" else "convert it with astype",
        )
    return x


#: The sign of real numbers; numpy.sign composes that of complex ones, which has a derivative.
sign = define("sign", spec=sign_spec, zero_derivative=True, elementwise=True)


def absolute_spec(x: Spec) -> Spec:
    return x.with_dtype(np.abs(x.dtype.type(1)).dtype) if x.dtype.kind == "c" else x


# For complex z, d|z| = Re(conj(z) dz) / |z|: linear in dz over the reals only, so no partial. The
# subgradient at zero is zero.
def absolute_pushforward(tangent: Tensor, out: Tensor, x: Tensor) -> Tensor:
    if x.dtype.kind != "c":
        return annihilating_multiply(tangent, sign(x))
    direction = annihilating_multiply(np.conjugate(x), 1.0 / out)
    return np.real(annihilating_multiply(tangent, direction))


absolute = implements_ufunc(
    define("absolute", spec=absolute_spec, pushforward=(absolute_pushforward,), elementwise=True), np.absolute
)


def copysign_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return copysign(1.0, y) * sign(x)


#: ``|x|`` with the sign of y; like that of ``|x|``, the derivative at x = 0 is zero.
copysign = elementwise("copysign", np.copysign, copysign_partial_x, zero_partial)


def heaviside_partial_h(out: Tensor, x: Tensor, h: Tensor) -> Tensor:
    return (x == 0).astype(h.dtype)


heaviside = elementwise("heaviside", np.heaviside, zero_partial, heaviside_partial_h)


# -- the float format ------------------------------------------------------------------------

nextafter = elementwise("nextafter", np.nextafter, unit_partial, zero_partial)
spacing = elementwise("spacing", np.spacing, zero_derivative=True)


def ldexp_transpose(cotangent: Tensor, x: Tensor, exponent: Tensor) -> Tensor:
    return unbroadcast(ldexp(cotangent, exponent), x.spec)


ldexp = elementwise("ldexp", np.ldexp, transpose=(ldexp_transpose, None))


def binary_exponent_spec(x: Spec) -> Spec:
    if x.dtype.kind != "f":
        raise DTypeError(
            "takes floats", argument="x", expected="a float dtype", got=str(x.dtype), remedy="use np.frexp, or astype"
        )
    return x.with_dtype(np.intc)


#: The second output of ``numpy.frexp``.
binary_exponent = define("binary_exponent", spec=binary_exponent_spec, zero_derivative=True, elementwise=True)
