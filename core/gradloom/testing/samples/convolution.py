"""Samples of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

A = rng().uniform(-2, 2, (2, 5))
V = rng(1).uniform(-2, 2, (2, 3))


def convolved(a: Any, v: Any, full: bool) -> Any:
    """Add up the products of elements, one by one."""
    rows = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    m, n = a.shape[-1], v.shape[-1]
    out = np.zeros((*rows, m + n - 1), np.result_type(a, v))
    for i in range(m):
        for j in range(n):
            out[..., i + j] += a[..., i] * v[..., j]
    return out if full else out[..., n - 1 : m]


SAMPLES = [
    Sample("convolve", (a, v), convolved, {"full": full}, name=f"{'full' if full else 'valid'} {name}".strip())
    for a, v, name in (
        (A[0], V[0], ""),
        (A[0, :3], V[1], "equal lengths"),
        (A[:, :4], V[:, :2], "stack"),
        (A[0, :4], V[:, :2], "broadcast"),
        (A[0, :1], V[0, :1], "size 1"),
        (A[:0], V[:0], "size 0"),
        (A[0, :3] + 1j * A[1, :3], V[0, :2], "complex"),
        (np.arange(4), np.array([2, 1], np.int16), "integers"),
    )
    for full in (True, False)
] + [Sample("convolve", (A[0, :2], V[0]), convolved, {"full": True}, name="full short")]
