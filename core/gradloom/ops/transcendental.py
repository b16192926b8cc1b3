"""Exponentials, logarithms, trigonometric and hyperbolic functions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.ops._elementwise import elementwise
from gradloom.ops.arithmetic import hypot, sqrt, square
from gradloom.ops.selection import where
from gradloom.symbolic import decide

Tensor = Any


# -- exponentials and logarithms -----------------------------------------------------------


def exp_partial(out: Tensor, x: Tensor) -> Tensor:
    return out


exp = elementwise("exp", np.exp, exp_partial)


def exp2_partial(out: Tensor, x: Tensor) -> Tensor:
    return out * math.log(2.0)


exp2 = elementwise("exp2", np.exp2, exp2_partial, special="exp2")


def expm1_partial(out: Tensor, x: Tensor) -> Tensor:
    return exp(x)


expm1 = elementwise("expm1", np.expm1, expm1_partial, special="expm1")


def log_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / x


log = elementwise("log", np.log, log_partial)


def log2_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / math.log(2.0) / x


log2 = elementwise("log2", np.log2, log2_partial)


def log10_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / math.log(10.0) / x


log10 = elementwise("log10", np.log10, log10_partial)


def log1p_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / (1.0 + x)


log1p = elementwise("log1p", np.log1p, log1p_partial, special="log1p")


# The logistic function 1 / (1 + exp(-x)); its derivative is s(x) (1 - s(x)) = s(x) s(-x), where
# the second form does not cancel.
def expit_partial(out: Tensor, x: Tensor) -> Tensor:
    return out * expit(-x)


expit = elementwise("expit", np.exp, expit_partial, public=False, special="expit")


# log(exp(x) + exp(y)) has the partials s(x - y) and s(y - x) with the logistic function s. Equal
# infinities share evenly.
def logaddexp_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return expit(_difference(x, y))


def logaddexp_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return expit(_difference(y, x))


def _difference(x: Tensor, y: Tensor) -> Tensor:
    """Return ``x - y``, zero where both are the same infinity."""
    if any(_is_finite_literal(t) for t in (x, y)):
        return x - y
    return where((x == y) & np.isinf(x), 0.0, x - y)


def _is_finite_literal(x: Tensor) -> bool:
    value = x._trace.static(x._index)
    return value is not None and bool(decide(math.isfinite, value))


logaddexp = elementwise("logaddexp", np.logaddexp, logaddexp_partial_x, logaddexp_partial_y)


def logaddexp2_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return expit(math.log(2.0) * _difference(x, y))


def logaddexp2_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return expit(math.log(2.0) * _difference(y, x))


logaddexp2 = elementwise("logaddexp2", np.logaddexp2, logaddexp2_partial_x, logaddexp2_partial_y)


# -- trigonometric functions ----------------------------------------------------------------


def sin_partial(out: Tensor, x: Tensor) -> Tensor:
    return cos(x)


sin = elementwise("sin", np.sin, sin_partial)


def cos_partial(out: Tensor, x: Tensor) -> Tensor:
    return -sin(x)


cos = elementwise("cos", np.cos, cos_partial)


def tan_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 + square(out)


tan = elementwise("tan", np.tan, tan_partial)


# (1 - x) (1 + x) does not cancel near 1 as 1 - x^2 does.
def arcsin_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / sqrt((1.0 - x) * (1.0 + x))


arcsin = elementwise("arcsin", np.arcsin, arcsin_partial)


def arccos_partial(out: Tensor, x: Tensor) -> Tensor:
    return -1.0 / sqrt((1.0 - x) * (1.0 + x))


arccos = elementwise("arccos", np.arccos, arccos_partial)


def arctan_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / (1.0 + square(x))


arctan = elementwise("arctan", np.arctan, arctan_partial)


# The angle of (x, y) has the partials x / r^2 and -y / r^2; dividing by r twice cannot overflow.
def arctan2_partial_y(out: Tensor, y: Tensor, x: Tensor) -> Tensor:
    radius = hypot(x, y)
    return x / radius / radius


def arctan2_partial_x(out: Tensor, y: Tensor, x: Tensor) -> Tensor:
    radius = hypot(x, y)
    return -y / radius / radius


arctan2 = elementwise("arctan2", np.arctan2, arctan2_partial_y, arctan2_partial_x)


# -- hyperbolic functions --------------------------------------------------------------------


def sinh_partial(out: Tensor, x: Tensor) -> Tensor:
    return cosh(x)


sinh = elementwise("sinh", np.sinh, sinh_partial)


def cosh_partial(out: Tensor, x: Tensor) -> Tensor:
    return sinh(x)


cosh = elementwise("cosh", np.cosh, cosh_partial)


def tanh_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 - square(out)


tanh = elementwise("tanh", np.tanh, tanh_partial)


def arcsinh_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / sqrt(1.0 + square(x))


arcsinh = elementwise("arcsinh", np.arcsinh, arcsinh_partial)


# Two roots instead of one: sqrt(x^2 - 1) has the wrong sign for complex x left of the axis.
def arccosh_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / (sqrt(x - 1.0) * sqrt(x + 1.0))


arccosh = elementwise("arccosh", np.arccosh, arccosh_partial)


def arctanh_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / ((1.0 - x) * (1.0 + x))


arctanh = elementwise("arctanh", np.arctanh, arctanh_partial)
