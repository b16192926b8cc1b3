"""Samples of the linear-algebra ops.

NumPy's linear algebra has no extended precision: the difference stencil runs in double.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.testing.sample import Sample, rng

Array = Any


def regular(*shape: int, seed: int = 0) -> Array:
    """Return well-conditioned matrices without symmetry."""
    return rng(seed).uniform(-1, 1, shape) + 2.5 * np.eye(shape[-2], shape[-1])


def complex_regular(*shape: int, seed: int = 0) -> Array:
    """Return well-conditioned complex matrices."""
    return regular(*shape, seed=seed) + 1j * rng(seed + 100).uniform(-0.5, 0.5, shape)


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


# -- oracles -------------------------------------------------------------------------------


def solved(a: Array, b: Array) -> Array:
    """Solve by way of the inverse."""
    return np.linalg.inv(a) @ b


def minors(a: Array) -> Array:
    """Return the cofactors, each from its minor."""
    out = np.empty_like(a)
    n = a.shape[-1]
    for i in range(n):
        for j in range(n):
            rest = np.delete(np.delete(a, i, -2), j, -1)
            out[..., i, j] = (-1) ** (i + j) * np.linalg.det(rest)
    return out


def lower(a: Array, diagonal: float) -> Array:
    """Return the lower triangle with a weighted diagonal, by a mask."""
    n = a.shape[-1]
    return a * (np.tri(n, k=-1, dtype=a.dtype) + diagonal * np.eye(n, dtype=a.dtype))


def gaps(w: Array) -> Array:
    """Return inverse distances, element by element."""
    out = np.zeros((*w.shape, w.shape[-1]), w.dtype)
    for i in range(w.shape[-1]):
        for j in range(w.shape[-1]):
            if i != j:
                out[..., i, j] = 1 / (w[..., j] - w[..., i])
    return out


def slogdet(a: Array) -> tuple[Array, Array]:
    """Return sign and logarithm from the determinant itself."""
    det = np.linalg.det(a)
    return det / np.abs(det), np.log(np.abs(det))


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


def changes(a: Array, t: Array) -> Array:
    """Return how cofactors change: up to three rows they are quadratic, so a difference is exact."""
    return (products(a + t) - products(a - t)) / 2


def products(a: Array) -> Array:
    """Return the cofactors of up to three rows, of three by cross products of the others."""
    if a.shape[-1] < 3:
        return minors(a)
    return np.stack([np.cross(a[..., k - 2, :], a[..., k - 1, :]) for k in range(3)], axis=-2)


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

A = regular(3, 3)
STACK = regular(2, 2, 2)
TALL = rng(3).uniform(-1, 1, (3, 2)) + 2.0 * np.eye(3, 2)
EMPTY = np.empty((0, 2, 2))
NONE = np.empty((0, 0))


def _square(op: str, oracle: Callable[..., Any], spd: bool = False, **attrs: Any) -> list[Sample]:
    """Return samples of an op of square matrices."""
    one, stack = (positive(3, 3), positive(2, 2, 2)) if spd else (A, STACK)
    return [
        Sample(op, (one,), oracle, attrs, rtol=1e-12),
        Sample(op, (stack,), oracle, attrs, name="stack", rtol=1e-12),
        Sample(op, (one[:1, :1],), oracle, attrs, name="size 1", rtol=1e-12),
        Sample(op, (EMPTY,), oracle, attrs, name="empty stack"),
    ]


def _complex(op: str, oracle: Callable[..., Any], a: Array, **attrs: Any) -> Sample:
    return Sample(op, (a,), oracle, attrs, name="complex", rtol=1e-12)


SAMPLES = [
    *_square("inv", np.linalg.inv),
    _complex("inv", np.linalg.inv, complex_regular(2, 2)),
    Sample("inv", (NONE,), np.linalg.inv, name="size 0"),
    Sample("inv", (np.array([[2, 1], [1, 1]]),), np.linalg.inv, name="integers"),
    *[
        Sample("solve", (a, b), solved, name=name, rtol=1e-12)
        for a, b, name in (
            (A, rng(1).uniform(0.5, 1, (3, 1)), ""),
            (STACK, rng(1).uniform(0.5, 1, (2, 2, 1)), "stack"),
            (A[:2, :2], rng(1).uniform(0.5, 1, (2, 2, 1)), "broadcast matrix"),
            (STACK, rng(1).uniform(0.5, 1, (2, 1)), "broadcast right-hand side"),
            (complex_regular(2, 2), rng(1).uniform(0.5, 1, (2, 1)) * (1 + 2j), "complex"),
            (A[:2, :2], rng(1).uniform(0.5, 1, (2, 1)) * (1 + 2j), "real and complex"),
            (A, np.empty((3, 0)), "size 0"),
        )
    ],
    Sample("annihilating_solve", (A[:2, :2], rng(1).uniform(0.5, 1, (2, 3))), solved, rtol=1e-12),
    Sample("solve", (np.array([[2, 1], [1, 1]]), np.array([[1], [3]])), solved, name="integers"),
    *_square("det", np.linalg.det),
    _complex("det", np.linalg.det, complex_regular(2, 2)),
    Sample("det", (NONE,), np.linalg.det, name="size 0"),
    Sample("det", (np.array([[2, 1], [1, 1]]),), np.linalg.det, name="integers"),
    *_square("cofactors", minors),
    _complex("cofactors", minors, complex_regular(2, 2)),
    Sample("cofactor_changes", (A, regular(3, 3, seed=7)), changes, rtol=1e-11),
    Sample("cofactor_changes", (STACK, regular(2, 2, 2, seed=7)), changes, name="stack", rtol=1e-11),
    Sample("cofactor_changes", (complex_regular(2, 2), complex_regular(2, 2, seed=7)), changes, name="complex"),
    Sample("cofactor_changes", (A[:1, :1], A[1:2, 1:2]), changes, name="size 1"),
    Sample("cofactor_changes", (EMPTY, EMPTY), changes, name="empty stack"),
    *_square("slogdet", slogdet),
    Sample("slogdet", (A[::-1],), slogdet, name="negative", rtol=1e-12),
    _complex("slogdet", slogdet, complex_regular(2, 2)),
    *_square("cholesky", cholesky, spd=True),
    _complex("cholesky", cholesky, complex_positive(2)),
    Sample("lower_triangle", (A,), lower, {"diagonal": 0.5}),
    Sample("lower_triangle", (STACK,), lower, {"diagonal": 0.0}, name="strict"),
    Sample("lower_triangle", (complex_regular(2, 2),), lower, {"diagonal": 0.5}, name="complex"),
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
