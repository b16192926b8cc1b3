"""Samples of the selection ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

_NAN, _INF = np.nan, np.inf
_X = rng(6).uniform(-2, 2, (2, 3))
_Y = rng(7).uniform(-2, 2, (4, 1, 3))
_MASK = np.array([[True, False, True], [False, False, True]])


def _pair(name: str, ties: dict[int, Any]) -> list[Sample]:
    function = getattr(np, name)
    return [
        Sample(name, (_X[0], _Y[:2, 0]), function, step=1e-4),
        Sample(name, (_X[0, :2], _Y[:3, 0, :1]), function, name="broadcast", step=1e-4),
        Sample(name, (np.float64(0.3), np.float64(-0.7)), function),
        Sample(name, (np.empty((0, 1)), np.empty((1, 2))), function, name="size 0"),
        Sample(name, (np.array([3, 1]), np.array([2, 2])), function, name="integers"),
        Sample(name, (np.array([2 + 1j, 3.0]), np.array([1 + 2j, 4.0])), function, name="complex"),
        Sample(
            name,
            (np.array([1.0, 0.0, _INF, 1.0]), np.array([1.0, -0.0, _INF, 2.0])),
            function,
            name="ties",
            smooth=False,
            expected_partials=ties,
        ),
    ]


_SMALLER = np.diag([0.5, 0.5, 0.5, 0.0])
_LARGER = np.diag([0.5, 0.5, 0.5, 1.0])
_NANS = (np.array([_NAN, 1.0, _NAN]), np.array([1.0, _NAN, _NAN]))

SAMPLES: list[Sample] = [
    *_pair("maximum", {0: _SMALLER, 1: _LARGER}),
    *_pair("minimum", {0: _LARGER, 1: _SMALLER}),
    *_pair("fmax", {0: _SMALLER, 1: _LARGER}),
    *_pair("fmin", {0: _LARGER, 1: _SMALLER}),
    Sample("maximum", _NANS, np.maximum, name="NaN", smooth=False),
    Sample("minimum", _NANS, np.minimum, name="NaN", smooth=False),
    *[
        Sample(
            name,
            _NANS,
            getattr(np, name),
            name="NaN",
            smooth=False,
            expected_partials={0: np.diag([0.0, 1.0, 1.0]), 1: np.diag([1.0, 0.0, 0.0])},
        )
        for name in ("fmax", "fmin")
    ],
    Sample("where", (_MASK, _X, _X[:1] ** 2), np.where, name="broadcast"),
    Sample("where", (_MASK[0], _X[:, :1], _Y[:2, 0]), np.where, name="broadcast all"),
    Sample("where", (np.True_, np.float64(1.5), np.float64(2.5)), np.where),
    Sample("where", (np.True_, _X[0], np.float64(2.5)), np.where, name="scalars"),
    Sample("where", (np.empty((0, 3), bool), _X[0], np.float64(2.5)), np.where, name="size 0"),
    Sample("where", (_MASK, np.array([1, 2, 3]), np.array([4, 5, 6])), np.where, name="integers"),
    Sample("where", (_X, _X + 1, np.array([4, 5, 6])), np.where, name="numbers as condition"),
    Sample("where", (_MASK[:, 0], _X[:, 0] + 1j * _X[:, 1], _X[:, 2]), np.where, name="complex and real"),
    Sample(
        "where",
        (np.array([True, False]), np.array([1.0, _NAN]), np.array([_INF, 2.0])),
        np.where,
        name="inf and NaN not chosen",
        smooth=False,
        expected_partials={1: np.diag([1.0, 0.0]), 2: np.diag([0.0, 1.0])},
    ),
]
