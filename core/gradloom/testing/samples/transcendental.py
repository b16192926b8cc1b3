"""Samples of the transcendental ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

#: Domain of each function of one argument, kept away from poles for the difference stencil.
DOMAINS: dict[str, tuple[float, float]] = {
    "exp": (-2, 2),
    "exp2": (-2, 2),
    "expm1": (-2, 2),
    "log": (0.5, 3),
    "log2": (0.5, 3),
    "log10": (0.5, 3),
    "log1p": (-0.4, 2),
    "sin": (-4, 4),
    "cos": (-4, 4),
    "tan": (-1, 1),
    "arcsin": (-0.6, 0.6),
    "arccos": (-0.6, 0.6),
    "arctan": (-2, 2),
    "sinh": (-2, 2),
    "cosh": (-2, 2),
    "tanh": (-2, 2),
    "arcsinh": (-2, 2),
    "arccosh": (1.6, 3),
    "arctanh": (-0.6, 0.6),
}

#: Where the derivative is zero, infinite or one-sided, or rounding could spoil it: (x, derivative).
EDGES: dict[str, tuple[list[float], list[float]]] = {
    "exp": ([-np.inf, 0.0, -0.0, 710.0], [0.0, 1.0, 1.0, np.inf]),
    "expm1": ([-40.0, 1e-300], [np.exp(-40.0), 1.0]),
    "log": ([np.inf, 0.0, 1e-300], [0.0, np.inf, 1e300]),
    "log1p": ([-1.0, np.inf, 1e-300], [np.inf, 0.0, 1.0]),
    "arcsin": ([1.0, -1.0, 1.0 - 2.0**-53], [np.inf, np.inf, 2.0**26]),
    "arccos": ([1.0, -1.0], [-np.inf, -np.inf]),
    "arctan": ([np.inf, -np.inf, 1e200], [0.0, 0.0, 0.0]),
    "tanh": ([np.inf, -np.inf, 400.0], [0.0, 0.0, 0.0]),
    "arccosh": ([1.0], [np.inf]),
    "arctanh": ([1.0, -1.0], [np.inf, np.inf]),
    "expit": ([np.inf, -np.inf, 40.0, -40.0], [0.0, 0.0, np.exp(-40.0), np.exp(-40.0)]),
}


def expit(x: Any) -> Any:
    """Logistic function by way of log(1 + exp(-x))."""
    return np.exp(-np.logaddexp(0, -x))


def _unary(name: str) -> list[Sample]:
    function = expit if name == "expit" else getattr(np, name)
    low, high = DOMAINS.get(name, (-3, 3))
    x = rng().uniform(low, high, (2, 3))
    samples = [
        Sample(name, (x,), function),
        Sample(name, (np.float64(x[0, 1]),), function),
        Sample(name, (np.empty((0, 3)),), function, name="size 0"),
        Sample(name, (x[:1, :1],), function, name="size 1"),
    ]
    if name != "expit":
        samples.append(Sample(name, (x[:, 0] + 1j * x[:, 1] / 2,), function, name="complex", rtol=1e-12))
        samples.append(Sample(name, (np.array([1, 1]),), function, name="integers", smooth=False))
    if name in EDGES:
        points, slopes = (np.array(values) for values in EDGES[name])
        samples.append(
            Sample(name, (points,), function, name="edges", smooth=False, expected_partials={0: np.diag(slopes)})
        )
    return samples


_X = rng(1).uniform(-2, 2, (2, 3))
_Y = rng(2).uniform(0.5, 2, (4, 1, 3))
_INF = np.inf

#: Equal infinities share evenly; ties of finite arguments are smooth.
_TIES = (np.array([-_INF, _INF, _INF, -_INF, 0.5]), np.array([-_INF, _INF, 1.0, 1.0, 0.5]))
_TIE_SHARES = np.diag([0.5, 0.5, 1.0, 0.0, 0.5])


def _binary(name: str, x: Any = _X, y: Any = _Y) -> list[Sample]:
    function = getattr(np, name)
    return [
        Sample(name, (x[0], y[:2, 0]), function),
        Sample(name, (x[:1, :2], y[:3, 0, :1]), function, name="broadcast"),
        Sample(name, (np.float64(0.3), y[0, 0, :2]), function, name="scalar and array"),
        Sample(name, (np.float64(0.3), np.float64(0.7)), function),
        Sample(name, (np.empty((0, 1)), np.empty((1, 2))), function, name="size 0"),
    ]


SAMPLES: list[Sample] = [sample for name in (*DOMAINS, "expit") for sample in _unary(name)]
for _name in ("logaddexp", "logaddexp2", "arctan2"):
    SAMPLES += _binary(_name)
for _name in ("logaddexp", "logaddexp2"):
    _shares = {0: _TIE_SHARES, 1: np.diag([0.5, 0.5, 0.0, 1.0, 0.5])}
    SAMPLES.append(Sample(_name, _TIES, getattr(np, _name), name="ties", smooth=False, expected_partials=_shares))
SAMPLES += [
    Sample("logaddexp", (np.array([0.5, -1.0]), np.array([0.5, -1.0])), np.logaddexp, name="finite ties"),
    Sample("arccosh", (np.array([-1.5 + 0.7j, -0.4 - 0.9j]),), np.arccosh, name="complex left half plane", rtol=1e-12),
    Sample("arctan2", (np.array([-1.0, 2.0]), np.array([-2.0, -0.7])), np.arctan2, name="left half plane"),
    Sample(
        "arctan2",
        (np.array([3e200]), np.array([4e200])),
        np.arctan2,
        name="large",
        smooth=False,
        expected_partials={0: np.array([[0.16e-200]]), 1: np.array([[-0.12e-200]])},
    ),
]
