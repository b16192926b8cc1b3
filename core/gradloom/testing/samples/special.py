"""Samples of the special-function ops; the oracle is mpmath at 30 digits."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

_INF = np.inf

#: mpmath's formula of each function, given the module and the arguments.
FORMULAS: dict[str, Callable[..., Any]] = {
    "erf": lambda m, x: m.erf(x),
    "erfc": lambda m, x: m.erfc(x),
    "erfcx": lambda m, x: m.exp(x**2) * m.erfc(x),
    "erfinv": lambda m, x: m.erfinv(x),
    "erfcinv": lambda m, x: m.erfinv(1 - x),
    "ndtr": lambda m, x: m.erfc(-x / m.sqrt(2)) / 2,
    "log_ndtr": lambda m, x: m.log(m.erfc(-x / m.sqrt(2)) / 2),
    "ndtri": lambda m, x: m.sqrt(2) * m.erfinv(2 * x - 1),
    "psi": lambda m, x: m.digamma(x),
    "erfi": lambda m, x: m.erfi(x),
    "loggamma": lambda m, x: m.loggamma(x),
    "gammasgn": lambda m, x: m.sign(m.gamma(x)),
    "yn": lambda m, n, x: m.bessely(n, x),
    "gammaln": lambda m, x: m.log(abs(m.gamma(x))),
    "gamma": lambda m, x: m.gamma(x),
    "rgamma": lambda m, x: m.rgamma(x),
    "betaln": lambda m, a, b: m.log(m.beta(a, b)),
    "beta": lambda m, a, b: m.beta(a, b),
    "gammainc": lambda m, a, x: m.gammainc(a, 0, x, regularized=True),
    "gammaincc": lambda m, a, x: m.gammainc(a, x, m.inf, regularized=True),
    "betainc": lambda m, a, b, x: m.betainc(a, b, 0, x, regularized=True),
    "logit": lambda m, x: m.log(x / (1 - x)),
    "log_expit": lambda m, x: -m.log(1 + m.exp(-x)),
    "xlogy": lambda m, x, y: x * m.log(y) if x else m.mpf(0),
    "xlog1py": lambda m, x, y: x * m.log(1 + y) if x else m.mpf(0),
    "entr": lambda m, x: -x * m.log(x) if x else m.mpf(0),
    "rel_entr": lambda m, x, y: x * m.log(x / y) if x else m.mpf(0),
    "kl_div": lambda m, x, y: x * m.log(x / y) - x + y if x else y,
    "i0": lambda m, x: m.besseli(0, x),
    "i1": lambda m, x: m.besseli(1, x),
    "i0e": lambda m, x: m.exp(-abs(x)) * m.besseli(0, x),
    "i1e": lambda m, x: m.exp(-abs(x)) * m.besseli(1, x),
    "iv": lambda m, v, x: m.besseli(v, x),
    "ive": lambda m, v, x: m.exp(-abs(x)) * m.besseli(v, x),
    "j0": lambda m, x: m.besselj(0, x),
    "j1": lambda m, x: m.besselj(1, x),
    "jv": lambda m, v, x: m.besselj(v, x),
    "y0": lambda m, x: m.bessely(0, x),
    "y1": lambda m, x: m.bessely(1, x),
    "yv": lambda m, v, x: m.bessely(v, x),
    "k0": lambda m, x: m.besselk(0, x),
    "k1": lambda m, x: m.besselk(1, x),
    "kv": lambda m, v, x: m.besselk(v, x),
    "exp1": lambda m, x: m.e1(x),
    "expi": lambda m, x: m.ei(x),
    "dawsn": lambda m, x: m.sqrt(m.pi) / 2 * m.exp(-(x**2)) * m.erfi(x),
}


@lru_cache(maxsize=100_000)
def _digits(name: str, *args: Any) -> Any:
    """Return the value of a formula as a long double, or a complex number."""
    import mpmath

    with mpmath.workdps(30):
        value = FORMULAS[name](mpmath, *[mpmath.mpmathify(a) for a in args])
        return complex(value) if isinstance(value, mpmath.mpc) else np.longdouble(mpmath.nstr(value, 25))


def oracle(name: str) -> Callable[..., Any]:
    """Return a function of arrays that takes its values from mpmath."""

    def function(*args: Any) -> Any:
        arrays = [np.asarray(a) for a in args]
        # Exact: a long double is the sum of two doubles.
        exact = [a.astype(object) for a in np.broadcast_arrays(*arrays)]
        out = np.empty(exact[0].shape, object)
        for index in np.ndindex(out.shape):
            out[index] = _digits(name, *[_exact(a[index]) for a in exact])
        dtype = np.result_type(np.float64, *[a.dtype for a in arrays])
        return out.astype(dtype)

    return function


def _exact(x: Any) -> Any:
    return complex(x) if isinstance(x, (complex, np.complexfloating)) else _TwoDoubles(x)


class _TwoDoubles:
    """A long double that mpmath takes exactly."""

    def __init__(self, x: Any) -> None:
        self.high = float(x)
        self.low = float(x - np.longdouble(self.high)) if np.isfinite(self.high) else 0.0

    def __hash__(self) -> int:
        return hash((self.high, self.low))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _TwoDoubles) and (self.high, self.low) == (other.high, other.low)

    def _mpmath_(self, precision: int, rounding: str) -> Any:
        import mpmath

        return mpmath.mpf(self.high) + mpmath.mpf(self.low)


def _sample(op: str, *args: Any, **kwargs: Any) -> Sample:
    arrays = tuple([np.asarray(a, float) if not isinstance(a, np.ndarray) else a for a in args])
    return Sample(op, arrays, oracle(op), rtol=kwargs.pop("rtol", 1e-12), **kwargs)


def _edges(name: str, args: list[list[float]], slopes: dict[int, list[float]]) -> Sample:
    return _sample(
        name, *args, name="edges", smooth=False, expected_partials={k: np.diag(np.array(v)) for k, v in slopes.items()}
    )


_DOMAINS: dict[str, tuple[float, float]] = {
    "erfinv": (-0.6, 0.6),
    "erfcinv": (0.4, 1.6),
    "ndtri": (0.2, 0.8),
    "logit": (0.2, 0.8),
    "psi": (1, 4),
    "gammaln": (1, 4),
    "loggamma": (1, 4),
    "gamma": (1, 4),
    "entr": (0.5, 3),
    "y0": (1, 4),
    "y1": (1, 4),
    "k0": (1, 4),
    "k1": (1, 4),
    "exp1": (1, 4),
    "expi": (1, 4),
}
_ONE_ARGUMENT = tuple(
    "erf erfc erfcx erfi erfinv erfcinv ndtr log_ndtr ndtri psi gammaln loggamma gamma rgamma logit log_expit entr "
    "i0 i1 i0e i1e j0 j1 y0 y1 k0 k1 exp1 expi dawsn".split()
)
_A = np.array([0.9, 2.3])
_B = np.array([[1.7], [0.6], [1.2]])

SAMPLES: list[Sample] = []
for _name in _ONE_ARGUMENT:
    _low, _high = _DOMAINS.get(_name, (0.3, 2))
    _x = rng(11).uniform(_low, _high, (1, 3))
    SAMPLES.append(_sample(_name, _x))
    SAMPLES.append(_sample(_name, (_low + _high) / 2 + 0.1))
    SAMPLES.append(_sample(_name, np.empty((0, 3)), name="size 0"))
for _name in ("erf", "erfc", "erfcx", "ndtr", "exp1", "dawsn"):
    SAMPLES.append(_sample(_name, np.array([0.6 + 0.4j, 0.9 - 0.3j]), name="complex"))
for _name in ("betaln", "beta", "xlogy", "xlog1py", "rel_entr", "kl_div"):
    SAMPLES.append(_sample(_name, _A, _B, name="broadcast"))
    SAMPLES.append(_sample(_name, 1.3, 0.7))
for _name in ("gammainc", "gammaincc", "jv", "iv", "ive", "yv", "kv"):
    SAMPLES.append(_sample(_name, _A, _B, name="broadcast"))
SAMPLES += [
    _sample("betainc", _A, 1.5, np.array([[0.3], [0.6]]), name="broadcast", step=5e-3),
    _sample("gamma", np.array([-0.5, -1.4]), name="negative", step=1e-3),
    _sample("gammaln", np.array([-0.5, -1.4]), name="negative", step=1e-3),
    _sample("i1", np.array([0.0, -0.7]), name="zero and negative"),
    _sample("j1", np.array([0.0, -0.7]), name="zero and negative"),
    _sample("i0e", np.array([-0.9, -0.7]), name="negative", step=1e-3),
    _sample("i1e", np.array([-0.9, -0.7]), name="negative", step=1e-3),
    _sample("psi", np.array([1, 3]), name="integers"),
    _sample("gammasgn", np.array([2.5, -0.5, -1.5, -2.25])),
    _sample("yn", np.array([2.0, 0.0, 3.0]), np.array([[1.2], [0.9]])),
    Sample("polygamma", (np.array([1.5, 2.5]),), lambda x, n: _polygamma(x, n), {"n": 2}, rtol=1e-12),
    _edges("erf", [[_INF, 0.0, 30.0]], {0: [0.0, 2 / np.sqrt(np.pi), 0.0]}),
    _edges("log_ndtr", [[-30.0]], {0: [30.033259667433677]}),
    _edges("log_expit", [[40.0, -800.0]], {0: [np.exp(-40.0), 1.0]}),
    _edges("entr", [[0.0]], {0: [_INF]}),
    _edges("xlogy", [[0.0, 0.0, 2.0], [0.0, 3.0, 1.0]], {0: [-_INF, np.log(3.0), 0.0], 1: [0.0, 0.0, 2.0]}),
    _edges("xlog1py", [[0.0, 0.0], [-1.0, 2.0]], {0: [-_INF, np.log(3.0)], 1: [0.0, 0.0]}),
    _edges("rel_entr", [[0.0, 2.0], [3.0, 2.0]], {0: [-_INF, 1.0], 1: [0.0, -1.0]}),
    _edges("kl_div", [[0.0, 2.0], [3.0, 2.0]], {0: [-_INF, 0.0], 1: [1.0, 0.0]}),
]


def _polygamma(x: Any, n: int) -> Any:
    import mpmath

    return np.array([float(mpmath.psi(n, float(t))) for t in np.ravel(x)]).reshape(np.shape(x))
