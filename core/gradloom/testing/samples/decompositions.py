"""Samples of decompositions of matrices.

NumPy's linear algebra has no extended precision: the difference stencil runs in double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng
from gradloom.testing.samples.linalg import EMPTY, A, complex_sample, square

Array = Any


def positive(*shape: int, seed: int = 0) -> Array:
    """Return symmetric positive definite matrices with distinct eigenvalues."""
    n = shape[-1]
    return hermitian(rng(seed).uniform(-0.5, 0.5, shape)) + np.diag(2.0 * np.arange(1, n + 1))


def complex_positive(n: int) -> Array:
    """Return a Hermitian positive definite matrix."""
    return hermitian(rng().uniform(-0.5, 0.5, (n, n)) * (1 + 0.7j)) + np.diag(np.arange(2.0, n + 2))


def hermitian(a: Array) -> Array:
    """Return the Hermitian part: derivatives are along Hermitian directions."""
    return (a + np.conj(np.swapaxes(a, -1, -2))) / 2


def gaps(w: Array) -> Array:
    """Return inverse distances, element by element."""
    out = np.zeros((*w.shape, w.shape[-1]), w.dtype)
    for i in range(w.shape[-1]):
        for j in range(w.shape[-1]):
            if i != j:
                out[..., i, j] = 1 / (w[..., j] - w[..., i])
    return out


def cholesky(a: Array) -> Array:
    """Factorise the Hermitian part."""
    return np.linalg.cholesky(hermitian(a))


def normal_inverse(a: Array, rcond: float | None = None) -> Array:
    """Return the pseudo-inverse of matrices of full rank by the normal equations."""
    h = np.conj(np.swapaxes(a, -1, -2))
    return np.linalg.inv(h @ a) @ h if a.shape[-2] >= a.shape[-1] else h @ np.linalg.inv(a @ h)


def _aligned(vectors: Array, like: Array) -> Array:
    """Return the signs that make columns point the way others do."""
    return np.sign(np.sum(vectors * like, axis=-2, keepdims=True))


def eigh_near(base: Array) -> Callable[..., Any]:
    """Return `eigh` of the symmetric part, with the signs of eigenvectors that it has at a matrix."""
    like = np.linalg.eigh(base)[1]

    def eigh(a: Array, lower: bool) -> tuple[Array, Array]:
        w, v = np.linalg.eigh(hermitian(a))
        return w, v * _aligned(v, like)

    return eigh


def eig_near(base: Array) -> Callable[..., Any]:
    """Return `eig` with the signs of real eigenvectors that it has at a matrix."""
    like = np.linalg.eig(base)[1]

    def eig(a: Array) -> tuple[Array, Array]:
        w, v = np.linalg.eig(a)
        return w.astype(complex), (v * _aligned(v, like)).astype(complex)

    return eig


def qr_near(base: Array) -> Callable[..., Any]:
    """Return `qr` with the signs that it has at a matrix."""
    like = np.linalg.qr(base)[0]

    def qr(a: Array) -> tuple[Array, Array]:
        q, r = np.linalg.qr(a)
        sign = _aligned(q, like)
        return q * sign, np.swapaxes(sign, -1, -2) * r

    return qr


def svd_near(base: Array) -> Callable[..., Any]:
    """Return the reduced `svd` with the signs that it has at a matrix."""
    like = np.linalg.svd(base, full_matrices=False)[0]

    def svd(a: Array) -> tuple[Array, Array, Array]:
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        sign = _aligned(u, like)
        return u * sign, s, np.swapaxes(sign, -1, -2) * vh

    return svd


# -- the table -----------------------------------------------------------------------------

TALL = rng(3).uniform(-1, 1, (3, 2)) + 2.0 * np.eye(3, 2)

SAMPLES = [
    *square("cholesky", cholesky, positive(3, 3), positive(2, 2, 2)),
    complex_sample("cholesky", cholesky, complex_positive(2)),
    Sample("inverse_gaps", (np.array([0.5, 2.0, 1.25]),), gaps),
    Sample("inverse_gaps", (np.array([[0.5, 2.0], [1.0, 3.5]]),), gaps, name="stack"),
    *[
        Sample("eigh", (a,), eigh_near(a), {"lower": is_lower}, name=name, rtol=1e-11)
        for a, is_lower, name in (
            (positive(3, 3), True, "lower"),
            (positive(3, 3, seed=5), False, "upper"),
            (positive(2, 2, 2), True, "stack"),
            (positive(1, 1), True, "size 1"),
            (EMPTY, True, "empty stack"),
        )
    ],
    *[
        Sample("eig", (a,), eig_near(a), name=name, rtol=1e-11, step=8e-3)
        for a, name in (
            (np.array([[1.0, 0.5, 0.25], [0.75, 3.0, 0.5], [0.25, 0.125, 6.0]]), ""),
            (np.array([[[1.0, 0.5], [0.75, 3.0]], [[5.0, 0.25], [-0.5, 1.0]]]), "stack"),
            (positive(1, 1), "size 1"),
            (EMPTY, "empty stack"),
        )
    ],
    *[
        Sample("qr", (a,), qr_near(a), name=name, rtol=1e-12)
        for a, name in (
            (TALL, "tall"),
            (A[:2, :2], "square"),
            (np.stack([TALL, TALL[::-1]])[:, :, :1], "stack"),
            (np.empty((0, 3, 2)), "empty stack"),
        )
    ],
    *[
        Sample("svd", (a,), svd_near(a), name=name, rtol=1e-11, step=5e-3)
        for a, name in (
            (TALL @ np.diag([1.0, 0.4]), "tall"),
            (np.diag([1.0, 0.4]) @ TALL.T, "wide"),
            (np.array([[2.0, 0.25], [-0.3, 1.0]]), "square"),
            (np.empty((0, 3, 2)), "empty stack"),
        )
    ],
    *[
        Sample("pinv", (a,), normal_inverse, {"rcond": None}, name=name, rtol=1e-12)
        for a, name in (
            (TALL, "tall"),
            (TALL.T, "wide"),
            (A[:2, :2], "square"),
            (TALL + 0.3j * TALL[::-1], "complex"),
        )
    ],
]
