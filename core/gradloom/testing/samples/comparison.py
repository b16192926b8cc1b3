"""Samples of the comparison, logic and bit ops."""

from __future__ import annotations

import numpy as np

from gradloom.testing.sample import Sample, rng

_NAN, _INF = np.nan, np.inf
_X = np.array([[0.0, -0.0, 1.0, _NAN, _INF], [-1.0, 2.0, -_INF, 3.5, 0.0]])
_Y = np.array([[-0.0], [1.0]])
_BITS = rng(5).integers(-100, 100, (2, 3))
_SHIFTS = np.array([0, 3, 5])
_BOOLS = np.array([[True, False, True], [False, False, True]])

COMPARISONS = ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal")
LOGIC = ("logical_and", "logical_or", "logical_xor")
BITS = ("bitwise_and", "bitwise_or", "bitwise_xor")

SAMPLES: list[Sample] = []
for _name in (*COMPARISONS, *LOGIC):
    _function = getattr(np, _name)
    SAMPLES += [
        Sample(_name, (_X, _Y), _function, name="broadcast"),
        Sample(_name, (np.float64(1.0), np.float64(2.0)), _function),
        Sample(_name, (_BITS, np.float64(3.0)), _function, name="integer and float"),
        Sample(_name, (np.empty((0, 3)), np.empty(3)), _function, name="size 0"),
        Sample(_name, (_X[0, :2] + 1j, np.array([1j, 2j])), _function, name="complex"),
    ]
for _name in BITS:
    _function = getattr(np, _name)
    SAMPLES += [
        Sample(_name, (_BITS, _SHIFTS), _function, name="broadcast"),
        Sample(_name, (_BOOLS, np.array([True, False, False])), _function, name="bool"),
        Sample(_name, (np.int64(6), np.int64(3)), _function),
    ]
for _name in ("left_shift", "right_shift"):
    SAMPLES.append(Sample(_name, (_BITS, _SHIFTS), getattr(np, _name)))
for _name in ("isnan", "isinf", "isfinite", "signbit", "logical_not"):
    _function = getattr(np, _name)
    SAMPLES += [
        Sample(_name, (_X,), _function),
        Sample(_name, (np.float64(-1.0),), _function),
        Sample(_name, (np.empty((0, 3)),), _function, name="size 0"),
    ]
SAMPLES += [
    Sample("logical_not", (_BOOLS,), np.logical_not, name="bool"),
    Sample("invert", (_BITS,), np.invert),
    Sample("invert", (_BOOLS,), np.invert, name="bool"),
    Sample("bitwise_count", (_BITS,), np.bitwise_count),
]
