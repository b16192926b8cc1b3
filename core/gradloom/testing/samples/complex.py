"""Samples of the complex-number ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng


def _of_parts(x: Any, y: Any) -> Any:
    """Return complex numbers by their memory: a last axis of two parts."""
    parts = np.stack(np.broadcast_arrays(x, y), axis=-1)
    return np.ascontiguousarray(parts).view(np.result_type(parts, np.complex64))[..., 0]


_SPECIAL = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1.5])
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
SAMPLES += [
    Sample("complex", (_X, _Z.imag), _of_parts),
    Sample("complex", (_X, _Z.imag[:1]), _of_parts, name="broadcast"),
    Sample("complex", (1.5, -0.5), _of_parts),
    Sample("complex", (_X[:0], _X[0]), _of_parts, name="size 0"),
    Sample("complex", (_SPECIAL[:, None], _SPECIAL), _of_parts, name="special", smooth=False),
]
