"""Samples of the complex-number ops."""

from __future__ import annotations

import numpy as np

from gradloom.testing.sample import Sample, rng

_X = rng(8).uniform(-2, 2, (2, 3))
_Z = _X + 1j * rng(9).uniform(-2, 2, (2, 3))

SAMPLES: list[Sample] = [
    sample
    for name in ("real", "imag", "conjugate")
    for sample in (
        Sample(name, (_Z,), getattr(np, name)),
        Sample(name, (np.complex128(1.5 - 0.5j),), getattr(np, name)),
        Sample(name, (np.empty((0, 3), complex),), getattr(np, name), name="size 0"),
        Sample(name, (np.array([np.inf - 0j, np.nan * 1j]),), getattr(np, name), name="inf and NaN", smooth=False),
        Sample(name, (_X,), getattr(np, name), name="real input"),
        Sample(name, (np.array([3, -1]),), getattr(np, name), name="integers"),
    )
]
