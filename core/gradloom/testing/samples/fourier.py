"""Samples of the Fourier transforms: the oracles multiply with the matrix of the transform."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

Array = Any

X = rng().uniform(-2, 2, (2, 5, 3))
Z = X + 1j * rng(1).uniform(-2, 2, (2, 5, 3))
SCALES = {"backward": 0.0, "ortho": 0.5, "forward": 1.0}


def matrix(n: int, inverse: bool, norm: str) -> Array:
    """Return the matrix of a transform of n points."""
    angles = 2 * np.pi * (np.outer(np.arange(n), np.arange(n)) % n) / n
    power = 1.0 - SCALES[norm] if inverse else SCALES[norm]
    return (np.cos(angles) + (1j if inverse else -1j) * np.sin(angles)) / n**power


def along(m: Array, x: Array, axis: int) -> Array:
    """Multiply along an axis."""
    return np.moveaxis(np.tensordot(m, x, (1, axis)), 0, axis)


def transformed(x: Array, axis: tuple[int, ...], inverse: bool, norm: str) -> Array:
    """Transform axis by axis."""
    for k in axis:
        x = along(matrix(x.shape[k], inverse, norm), x, k)
    return x if axis else x.astype(complex)


def half(x: Array, axis: int, norm: str) -> Array:
    """Return the first half of the spectrum."""
    n = x.shape[axis]
    return along(matrix(n, False, norm)[: n // 2 + 1], x, axis)


def whole(x: Array, axis: int, length: int, norm: str) -> Array:
    """Transform the Hermitian spectrum with a given first half."""
    rows = np.moveaxis(x, axis, 0).astype(np.result_type(x.dtype, 1j))
    full = np.concatenate([rows, np.conj(rows[1 : (length + 1) // 2][::-1])])
    full[0] = full[0].real
    if length % 2 == 0:
        full[length // 2] = full[length // 2].real
    return np.moveaxis(np.tensordot(matrix(length, True, norm), full, (1, 0)).real, 0, axis)


SAMPLES = [
    *[
        Sample(
            "fft",
            (Z[0, :3, :2] if len(axis) == 1 else Z[:, :1],),
            transformed,
            {"axis": axis, "inverse": inverse, "norm": norm},
            rtol=1e-12,
            name=f"{norm} {'inverse' if inverse else 'forward'}",
        )
        for axis, inverse, norm in (
            ((0,), False, "backward"),
            ((1,), True, "backward"),
            ((0, 2), False, "ortho"),
            ((2, 1), True, "forward"),
        )
    ],
    Sample(
        "fft", (X[0, :4, :2],), transformed, {"axis": (0,), "inverse": False, "norm": "backward"}, "real", rtol=1e-12
    ),
    Sample("fft", (Z[0, :1, :1],), transformed, {"axis": (0,), "inverse": False, "norm": "backward"}, "size 1"),
    Sample("fft", (Z[:0],), transformed, {"axis": (1,), "inverse": True, "norm": "backward"}, "size 0"),
    Sample(
        "fft",
        (np.arange(6).reshape(3, 2),),
        transformed,
        {"axis": (0,), "inverse": False, "norm": "ortho"},
        "integers",
        rtol=1e-12,
    ),
    *[
        Sample("rfft", (x,), half, {"axis": axis, "norm": norm}, name=f"{norm} {name}", rtol=1e-12)
        for x, axis, norm, name in (
            (X[0, :, :2], 0, "backward", "odd"),
            (X[:, :4, :1], 1, "ortho", "even"),
            (X[0, :2], 1, "forward", "last"),
            (X[0, :1], 0, "backward", "size 1"),
            (X[:0], 2, "backward", "size 0"),
            (np.arange(6).reshape(3, 2), 0, "backward", "integers"),
        )
    ],
    *[
        Sample("irfft", (x,), whole, {"axis": axis, "length": n, "norm": norm}, name=f"{norm} {name}", rtol=1e-12)
        for x, axis, n, norm, name in (
            (Z[0, :3, :2], 0, 5, "backward", "odd"),
            (Z[0, :3, :1], 0, 4, "backward", "even"),
            (Z[:, :2, :1], 1, 3, "ortho", "middle"),
            (Z[0, :2], 1, 4, "forward", "last"),
            (Z[0, :1], 0, 1, "backward", "size 1"),
            (Z[:0], 2, 4, "backward", "size 0"),
            (X[0, :2], 1, 5, "backward", "real"),
        )
    ],
]
