"""Samples of the arithmetic ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

_INF = np.inf
_X = rng(3).uniform(0.6, 2.3, (2, 3))
_Y = rng(4).uniform(-2.4, -0.7, (2, 3))
_SCALAR = np.float64(1.3)
_INTEGERS = np.array([[7, -3, 2], [5, 4, -9]])


def _unary(name: str, x: Any = _X, takes_complex: bool = False, takes_integers: bool = True) -> list[Sample]:
    function = getattr(np, name)
    samples = [
        Sample(name, (x,), function),
        Sample(name, (-x[0],), function, name="negative") if name != "sqrt" else Sample(name, (x[0],), function),
        Sample(name, (_SCALAR,), function),
        Sample(name, (x[:1, :1],), function, name="size 1"),
        Sample(name, (np.empty((0, 3)),), function, name="size 0"),
    ]
    if takes_complex:
        samples.append(Sample(name, (x[0, :2] + 1j * _Y[0, :2],), function, name="complex"))
    if takes_integers:
        samples.append(Sample(name, (np.abs(_INTEGERS),), function, name="integers"))
    return samples


def _binary(
    name: str, x: Any = _X, y: Any = _Y, takes_complex: bool = False, oracle: Any = None, step: float = 1e-2
) -> list[Sample]:
    function = oracle or getattr(np, name)
    samples = [
        Sample(name, (x[:, :2], y[:, 1:]), function, step=step),
        Sample(name, (x[0], y[:, :1]), function, name="broadcast", step=step),
        Sample(name, (y[0, :2], _SCALAR), function, name="array and scalar", step=step),
        Sample(name, (_SCALAR, y[0, :2]), function, name="scalar and array", step=step),
        Sample(name, (_SCALAR, np.float64(0.9)), function, step=step),
        Sample(name, (np.empty((0, 1)), np.empty((1, 2))), function, name="size 0"),
        Sample(name, (np.array([2.5, 3.5]), np.array([2, 3])), function, name="float and integer"),
    ]
    if takes_complex:
        z = x[0, :2] + 1j * y[0, :2]
        samples.append(Sample(name, (z, y[1, :2] - 0.5j), function, name="complex"))
        samples.append(Sample(name, (z, y[1, :2]), function, name="complex and real"))
    return samples


def _edges(name: str, args: list[Any], slopes: dict[int, list[float]], oracle: Any = None) -> Sample:
    arrays = tuple([np.array(a, float) for a in args])
    partials = {k: np.diag(np.array(v, float)) for k, v in slopes.items()}
    function = oracle or getattr(np, name)
    return Sample(name, arrays, function, name="edges", smooth=False, expected_partials=partials)


def binary_exponent(x: Any) -> Any:
    """Exponent of the binary representation, by way of log2."""
    return np.intc(np.where(x == 0, 0, np.floor(np.log2(np.abs(np.where(x == 0, 1, x)))) + 1))


def annihilating_multiply(x: Any, y: Any) -> Any:
    """Product that is zero where a factor is."""
    return np.where((x == 0) | (y == 0), 0, np.where(y == 0, 1, x) * np.where(x == 0, 1, y))


SAMPLES: list[Sample] = [
    *_binary("add", takes_complex=True),
    *_binary("subtract", takes_complex=True),
    *_binary("multiply", takes_complex=True),
    *_binary("divide", takes_complex=True),
    *_binary("power", _X, _Y, takes_complex=True)[:2],
    *_binary("power", _X, -_Y, takes_complex=True)[3:],
    *_binary("hypot"),
    *_binary("remainder", step=1e-4),
    *_binary("fmod", step=1e-4),
    *_unary("negative", takes_complex=True),
    *_unary("positive", takes_complex=True),
    *_unary("reciprocal", takes_complex=True),
    *_unary("square", takes_complex=True),
    *_unary("sqrt", takes_complex=True),
    *_unary("cbrt"),
    *_unary("absolute", takes_complex=True),
    _edges("divide", [[1, 0, 0, 2], [0, 0, 2, _INF]], {0: [_INF, _INF, 0.5, 0], 1: [-_INF, np.nan, 0, 0]}),
    _edges("reciprocal", [[0, _INF, -2]], {0: [-_INF, 0, -0.25]}),
    _edges("square", [[0, -0.0, _INF]], {0: [0, 0, _INF]}),
    _edges("sqrt", [[0, -0.0, 4, _INF]], {0: [_INF, -_INF, 0.25, 0]}),
    _edges("cbrt", [[0, -0.0, -8, _INF]], {0: [_INF, _INF, 1 / 12, 0]}),
    _edges("absolute", [[0, -0.0, -_INF, np.nan]], {0: [0, 0, -1, np.nan]}),
    _edges("hypot", [[0, 3, 0], [0, 0, -2]], {0: [0, 1, 0], 1: [0, 0, -1]}),
    _edges(
        "power",
        [[0, 0, 0, 0, -2, -2, 3, 0], [0, 1, 2, 0.5, 3, 2, 0, -1]],
        {0: [0, 1, 0, _INF, 12, -4, 0, -_INF]},
    ),
    _edges("power", [[0, 0, 0, 3, 1], [0, 1, 0.5, 0, 5]], {1: [0, 0, 0, np.log(3), 0]}),
    _edges("remainder", [[5, -5, 5, 6], [3, 3, -3, 3]], {0: [1, 1, 1, 1], 1: [-1, 2, 2, -2]}),
    _edges("fmod", [[5, -5, 5, 6], [3, 3, -3, 3]], {0: [1, 1, 1, 1], 1: [-1, 1, 1, -2]}),
    # Here (fmod(x, y) - x) / y rounds to just below an integer.
    _edges("fmod", [[606636.2, 815853.7], [6.6, 0.1]], {0: [1, 1], 1: [-91914, -8158536]}),
    Sample(
        "absolute",
        (np.array([0j, 3 + 4j]),),
        np.absolute,
        name="complex zero",
        smooth=False,
        expected_partials={0: np.array([[[0, 0], [0, 0]], [[0, 0], [0.6, 0.8]]])},
    ),
    *_binary("annihilating_multiply", oracle=annihilating_multiply)[:4],
    _edges(
        "annihilating_multiply",
        [[0, _INF, 0, 2, -0.0], [_INF, 0, np.nan, _INF, 3]],
        {0: [_INF, 0, np.nan, _INF, 3], 1: [0, _INF, 0, 2, 0]},
        annihilating_multiply,
    ),
    # Piecewise linear and piecewise constant.
    *[s for name in ("floor", "ceil", "trunc", "rint", "sign", "spacing") for s in _unary(name)],
    *_binary("floor_divide")[:6],
    *_binary("copysign"),
    _edges("copysign", [[0, 2, -3], [1, -1, -0.0]], {0: [0, -1, 1], 1: [0, 0, 0]}),
    _edges("heaviside", [[0, 2, -3, -0.0], [0.5, 1, 2, 3]], {0: [0, 0, 0, 0], 1: [1, 0, 0, 1]}),
    _edges("nextafter", [[0.5, 2], [1, 1]], {0: [1, 1], 1: [0, 0]}),
    Sample("gcd", (_INTEGERS, np.array([4, 6, 3])), np.gcd),
    Sample("lcm", (_INTEGERS, np.array([4, 6, 3])), np.lcm),
    Sample("remainder", (_INTEGERS, np.array([4, -6, 3])), np.remainder, name="integers"),
    Sample("floor_divide", (_INTEGERS, np.array([4, -6, 3])), np.floor_divide, name="integers"),
    Sample("power", (_INTEGERS, np.array([2, 0, 3])), np.power, name="integers"),
    Sample("ldexp", (_X, np.array([1, -2, 3])), np.ldexp),
    Sample("ldexp", (_SCALAR, np.array([1, -2])), np.ldexp, name="scalar and array"),
    Sample("binary_exponent", (np.array([[0.1, -8.0, 0.0], [1.0, 7.9, 1e-300]]),), binary_exponent),
    Sample("round", (10 * _X,), np.round, {"decimals": 1}),
    Sample("round", (_INTEGERS,), np.round, {"decimals": -1}, name="integers"),
    Sample("round", (_X + 1j * _Y,), np.round, {"decimals": 2}, name="complex"),
]
