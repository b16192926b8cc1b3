"""Special functions: the ufuncs of scipy.special that have a simple derivative.

Gradloom never imports SciPy itself: a tensor given to ``scipy.special.erf`` finds its op by the
ufunc's name, and kernels import SciPy when a plan needs them. Formulas are those of the NIST
Digital Library of Mathematical Functions (DLMF).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.dispatch import implements_ufunc
from gradloom.errors import DTypeError
from gradloom.op import Op, Rule, define
from gradloom.ops._elementwise import broadcast_shape, result_dtype
from gradloom.ops.arithmetic import annihilating_multiply, sign, square
from gradloom.ops.comparison import less
from gradloom.ops.selection import where
from gradloom.ops.transcendental import exp, expit, log
from gradloom.spec import Spec

Tensor = Any

_SINGLE = frozenset({np.dtype(np.float32), np.dtype(np.complex64)})


def special(name: str, *partials: Rule | None, takes_complex: bool = False, zero_derivative: bool = False) -> Op:
    """Define the op of a ufunc in scipy.special.

    Like SciPy's, it computes single precision in single precision and all else in double.
    """

    def dtype(specs: tuple[Spec, ...]) -> np.dtype[Any]:
        joint = result_dtype(name, *specs)
        if joint.kind not in "biufc" or (joint.kind == "c" and not takes_complex):
            raise DTypeError(
                "no loop for this dtype",
                op=name,
                argument="dtypes",
                expected="numbers" if takes_complex else "real numbers",
                got=str(joint),
                remedy="convert the arguments with astype, or take np.real",
            )
        if joint in _SINGLE:
            return joint
        return np.dtype(np.complex128 if joint.kind == "c" else np.float64)

    def promote(*specs: Spec) -> tuple[Any, ...]:
        return (dtype(specs),) * len(specs)

    def spec(*specs: Spec) -> Spec:
        return Spec(broadcast_shape(name, *[s.shape for s in specs]), specs[0].dtype)

    op = define(
        name,
        spec=spec,
        promote=promote,
        partials=partials or None,
        elementwise=True,
        zero_derivative=zero_derivative,
    )
    return implements_ufunc(op, special=name)


# -- error function and normal distribution -------------------------------------------------

_TWO_OVER_SQRT_PI = 2.0 / math.sqrt(math.pi)
_SQRT_TWO_PI = math.sqrt(2.0 * math.pi)


def erf_partial(out: Tensor, x: Tensor) -> Tensor:
    return _TWO_OVER_SQRT_PI * exp(-square(x))


erf = special("erf", erf_partial, takes_complex=True)


def erfc_partial(out: Tensor, x: Tensor) -> Tensor:
    return -_TWO_OVER_SQRT_PI * exp(-square(x))


erfc = special("erfc", erfc_partial, takes_complex=True)


# erfcx(x) = exp(x^2) erfc(x).
def erfcx_partial(out: Tensor, x: Tensor) -> Tensor:
    return 2.0 * x * out - _TWO_OVER_SQRT_PI


erfcx = special("erfcx", erfcx_partial, takes_complex=True)


# erfi(x) = -i erf(i x).
def erfi_partial(out: Tensor, x: Tensor) -> Tensor:
    return _TWO_OVER_SQRT_PI * exp(square(x))


erfi = special("erfi", erfi_partial, takes_complex=True)


# The derivative of an inverse is one over the derivative of the function there.
def erfinv_partial(out: Tensor, x: Tensor) -> Tensor:
    return exp(square(out)) / _TWO_OVER_SQRT_PI


erfinv = special("erfinv", erfinv_partial)


def erfcinv_partial(out: Tensor, x: Tensor) -> Tensor:
    return exp(square(out)) / -_TWO_OVER_SQRT_PI


erfcinv = special("erfcinv", erfcinv_partial)


def ndtr_partial(out: Tensor, x: Tensor) -> Tensor:
    return exp(-0.5 * square(x)) / _SQRT_TWO_PI


ndtr = special("ndtr", ndtr_partial, takes_complex=True)


# pdf(x) / cdf(x). Below zero both have the factor exp(-x^2/2), which is left out: there
# cdf(x) = exp(-x^2/2) erfcx(-x/sqrt(2)) / 2. Above zero erfcx overflows, and the quotient is taken
# in the exponent, as for complex numbers; far below zero that is a difference of large numbers.
def log_ndtr_partial(out: Tensor, x: Tensor) -> Tensor:
    if x.dtype.kind == "c":
        return exp(-0.5 * square(x) - out) / _SQRT_TWO_PI
    below = less(x, 0.0)
    tail = (2.0 / _SQRT_TWO_PI) / erfcx(where(below, x, 0.0) * -math.sqrt(0.5))
    return where(below, tail, exp(where(below, 0.0, -0.5 * square(x) - out)) / _SQRT_TWO_PI)


log_ndtr = special("log_ndtr", log_ndtr_partial, takes_complex=True)


def ndtri_partial(out: Tensor, x: Tensor) -> Tensor:
    return exp(0.5 * square(out)) * _SQRT_TWO_PI


ndtri = special("ndtri", ndtri_partial)


# -- gamma and beta functions ----------------------------------------------------------------


def polygamma_spec(x: Spec, *, n: int) -> Spec:
    return x


def polygamma_pushforward(tangent: Tensor, out: Tensor, x: Tensor, *, n: int) -> Tensor:
    return annihilating_multiply(tangent, polygamma(x, n=n + 1))


#: Derivative number n >= 1 of the digamma function.
polygamma = define("polygamma", spec=polygamma_spec, pushforward=(polygamma_pushforward,), elementwise=True)


def psi_partial(out: Tensor, x: Tensor) -> Tensor:
    return polygamma(x, n=1)


#: The digamma function, under SciPy's name for the ufunc.
psi = special("psi", psi_partial)


def gammaln_partial(out: Tensor, x: Tensor) -> Tensor:
    return psi(x)


gammaln = special("gammaln", gammaln_partial)


#: The logarithm of the gamma function, not of its absolute value: NaN for negative numbers.
loggamma = special("loggamma", gammaln_partial)


def gamma_partial(out: Tensor, x: Tensor) -> Tensor:
    return out * psi(x)


gamma = special("gamma", gamma_partial)


#: The sign of the gamma function.
gammasgn = special("gammasgn", zero_derivative=True)


def rgamma_partial(out: Tensor, x: Tensor) -> Tensor:
    return -out * psi(x)


rgamma = special("rgamma", rgamma_partial)


def betaln_partial_a(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return psi(a) - psi(a + b)


def betaln_partial_b(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return psi(b) - psi(a + b)


betaln = special("betaln", betaln_partial_a, betaln_partial_b)


def beta_partial_a(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return out * betaln_partial_a(out, a, b)


def beta_partial_b(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return out * betaln_partial_b(out, a, b)


beta = special("beta", beta_partial_a, beta_partial_b)


# DLMF 8.8.13: the density of the gamma distribution, x^(a-1) exp(-x) / Gamma(a).
def gammainc_partial_x(out: Tensor, a: Tensor, x: Tensor) -> Tensor:
    return exp(xlogy(a - 1.0, x) - x - gammaln(a))


def gammaincc_partial_x(out: Tensor, a: Tensor, x: Tensor) -> Tensor:
    return -gammainc_partial_x(out, a, x)


gammainc = special("gammainc", None, gammainc_partial_x)
gammaincc = special("gammaincc", None, gammaincc_partial_x)


# DLMF 8.17.1: the density of the beta distribution.
def betainc_partial_x(out: Tensor, a: Tensor, b: Tensor, x: Tensor) -> Tensor:
    return exp(xlogy(a - 1.0, x) + xlog1py(b - 1.0, -x) - betaln(a, b))


betainc = special("betainc", None, None, betainc_partial_x)


# -- logistic and entropy functions ----------------------------------------------------------


def logit_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 / (x * (1.0 - x))


logit = special("logit", logit_partial)


def log_expit_partial(out: Tensor, x: Tensor) -> Tensor:
    return expit(-x)


log_expit = special("log_expit", log_expit_partial)


# x log(y) is zero at x = 0 for every y, so there its derivative to y is zero.
def xlogy_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return log(y)


def xlogy_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return annihilating_multiply(x, 1.0 / y)


xlogy = special("xlogy", xlogy_partial_x, xlogy_partial_y, takes_complex=True)


def xlog1py_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return np.log1p(y)


def xlog1py_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return annihilating_multiply(x, 1.0 / (1.0 + y))


xlog1py = special("xlog1py", xlog1py_partial_x, xlog1py_partial_y, takes_complex=True)


# -x log(x).
def entr_partial(out: Tensor, x: Tensor) -> Tensor:
    return -1.0 - log(x)


entr = special("entr", entr_partial)


# x log(x / y); a difference of logarithms where x / y would overflow.
def rel_entr_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return 1.0 + log(x) - log(y)


def rel_entr_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return -annihilating_multiply(x, 1.0 / y)


rel_entr = special("rel_entr", rel_entr_partial_x, rel_entr_partial_y)


# x log(x / y) - x + y.
def kl_div_partial_x(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return log(x) - log(y)


def kl_div_partial_y(out: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return 1.0 - annihilating_multiply(x, 1.0 / y)


kl_div = special("kl_div", kl_div_partial_x, kl_div_partial_y)


# -- Bessel functions --------------------------------------------------------------------------
# The order carries no derivative. DLMF 10.6.1: 2 J'_v = J_(v-1) - J_(v+1), the same for Y;
# 10.29.1: 2 I'_v = I_(v-1) + I_(v+1) and -2 K'_v = K_(v-1) + K_(v+1). None divides by x.


def jv_partial(out: Tensor, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (jv(v - 1.0, x) - jv(v + 1.0, x))


jv = special("jv", None, jv_partial)


def j0_partial(out: Tensor, x: Tensor) -> Tensor:
    return -j1(x)


def j1_partial(out: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (j0(x) - jv(2.0, x))


j0 = special("j0", j0_partial)
j1 = special("j1", j1_partial)


def yv_partial(out: Tensor, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (yv(v - 1.0, x) - yv(v + 1.0, x))


yv = special("yv", None, yv_partial)


# Of integer order, which it takes as a float.
def yn_partial(out: Tensor, n: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (yv(n - 1.0, x) - yv(n + 1.0, x))


yn = special("yn", None, yn_partial)


def y0_partial(out: Tensor, x: Tensor) -> Tensor:
    return -y1(x)


def y1_partial(out: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (y0(x) - yv(2.0, x))


y0 = special("y0", y0_partial)
y1 = special("y1", y1_partial)


def iv_partial(out: Tensor, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (iv(v - 1.0, x) + iv(v + 1.0, x))


iv = special("iv", None, iv_partial)


def i0_partial(out: Tensor, x: Tensor) -> Tensor:
    return i1(x)


def i1_partial(out: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (i0(x) + iv(2.0, x))


i0 = special("i0", i0_partial)
i1 = special("i1", i1_partial)


# The scaled functions are exp(-|x|) I_v(x).
def ive_partial(out: Tensor, v: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (ive(v - 1.0, x) + ive(v + 1.0, x)) - sign(x) * out


ive = special("ive", None, ive_partial)


def i0e_partial(out: Tensor, x: Tensor) -> Tensor:
    return i1e(x) - sign(x) * out


def i1e_partial(out: Tensor, x: Tensor) -> Tensor:
    return 0.5 * (i0e(x) + ive(2.0, x)) - sign(x) * out


i0e = special("i0e", i0e_partial)
i1e = special("i1e", i1e_partial)


def kv_partial(out: Tensor, v: Tensor, x: Tensor) -> Tensor:
    return -0.5 * (kv(v - 1.0, x) + kv(v + 1.0, x))


kv = special("kv", None, kv_partial)


def k0_partial(out: Tensor, x: Tensor) -> Tensor:
    return -k1(x)


def k1_partial(out: Tensor, x: Tensor) -> Tensor:
    return -0.5 * (k0(x) + kv(2.0, x))


k0 = special("k0", k0_partial)
k1 = special("k1", k1_partial)


# -- exponential integrals ---------------------------------------------------------------------


def exp1_partial(out: Tensor, x: Tensor) -> Tensor:
    return -exp(-x) / x


exp1 = special("exp1", exp1_partial, takes_complex=True)


def expi_partial(out: Tensor, x: Tensor) -> Tensor:
    return exp(x) / x


expi = special("expi", expi_partial, takes_complex=True)


# Dawson's integral solves y' = 1 - 2 x y.
def dawsn_partial(out: Tensor, x: Tensor) -> Tensor:
    return 1.0 - 2.0 * x * out


dawsn = special("dawsn", dawsn_partial, takes_complex=True)
