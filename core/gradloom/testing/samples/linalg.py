"""Samples of systems of equations, inverses and determinants.

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


# -- oracles -------------------------------------------------------------------------------


def solved(a: Array, b: Array) -> Array:
    """Solve by way of the inverse."""
    return np.linalg.inv(a) @ b


def solved_triangular(a: Array, b: Array, lower: bool) -> Array:
    """Solve with one triangle by way of the inverse."""
    n = a.shape[-1]
    mask = np.tri(n, dtype=a.dtype)
    return np.linalg.inv(a * (mask if lower else mask.T)) @ b


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


def slogdet(a: Array) -> tuple[Array, Array]:
    """Return sign and logarithm from the determinant itself."""
    det = np.linalg.det(a)
    return det / np.abs(det), np.log(np.abs(det))


def inverse_and_slogdet(a: Array) -> tuple[Array, Array, Array]:
    """Return the inverse from the cofactors, and `slogdet`."""
    inverse = minors(a).swapaxes(-1, -2) / np.linalg.det(a)[..., None, None] if a.shape[-1] > 1 else 1 / a
    return (inverse, *slogdet(a))


def changes(a: Array, t: Array) -> Array:
    """Return how cofactors change: up to three rows they are quadratic, so a difference is exact."""
    return (products(a + t) - products(a - t)) / 2


def products(a: Array) -> Array:
    """Return the cofactors of up to three rows, of three by cross products of the others."""
    if a.shape[-1] < 3:
        return minors(a)
    return np.stack([np.cross(a[..., k - 2, :], a[..., k - 1, :]) for k in range(3)], axis=-2)


# -- the table -----------------------------------------------------------------------------

A = regular(3, 3)
STACK = regular(2, 2, 2)
EMPTY = np.empty((0, 2, 2))
NONE = np.empty((0, 0))


def square(op: str, oracle: Callable[..., Any], one: Array = A, stack: Array = STACK) -> list[Sample]:
    """Return samples of an op of square matrices."""
    return [
        Sample(op, (one,), oracle, rtol=1e-12),
        Sample(op, (stack,), oracle, name="stack", rtol=1e-12),
        Sample(op, (one[:1, :1],), oracle, name="size 1", rtol=1e-12),
        Sample(op, (EMPTY,), oracle, name="empty stack"),
    ]


def complex_sample(op: str, oracle: Callable[..., Any], a: Array) -> Sample:
    """Return a sample of an op of a complex matrix."""
    return Sample(op, (a,), oracle, name="complex", rtol=1e-12)


SAMPLES = [
    *square("inv", np.linalg.inv),
    complex_sample("inv", np.linalg.inv, complex_regular(2, 2)),
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
    *[
        Sample("solve_triangular", (a, b), solved_triangular, {"lower": is_lower}, name=name, rtol=1e-12)
        for a, b, is_lower, name in (
            (A, rng(1).uniform(0.5, 1, (3, 2)), True, "lower"),
            (A, rng(1).uniform(0.5, 1, (3, 2)), False, "upper"),
            (STACK, rng(1).uniform(0.5, 1, (2, 1)), True, "broadcast right-hand side"),
            (A[:2, :2], rng(1).uniform(0.5, 1, (2, 2, 1)), False, "broadcast matrix"),
            (complex_regular(2, 2), rng(1).uniform(0.5, 1, (2, 1)) * (1 + 2j), True, "complex"),
            (A, np.empty((3, 0)), True, "size 0"),
        )
    ],
    Sample(
        "annihilating_solve_triangular",
        (A[:2, :2], rng(1).uniform(0.5, 1, (2, 3))),
        solved_triangular,
        {"lower": False},
        rtol=1e-12,
    ),
    *square("det", np.linalg.det),
    complex_sample("det", np.linalg.det, complex_regular(2, 2)),
    Sample("det", (NONE,), np.linalg.det, name="size 0"),
    Sample("det", (np.array([[2, 1], [1, 1]]),), np.linalg.det, name="integers"),
    *square("cofactors", minors),
    complex_sample("cofactors", minors, complex_regular(2, 2)),
    Sample("cofactor_changes", (A, regular(3, 3, seed=7)), changes, rtol=1e-11),
    Sample("cofactor_changes", (STACK, regular(2, 2, 2, seed=7)), changes, name="stack", rtol=1e-11),
    Sample("cofactor_changes", (complex_regular(2, 2), complex_regular(2, 2, seed=7)), changes, name="complex"),
    Sample("cofactor_changes", (A[:1, :1], A[1:2, 1:2]), changes, name="size 1"),
    Sample("cofactor_changes", (EMPTY, EMPTY), changes, name="empty stack"),
    *square("slogdet", slogdet),
    Sample("slogdet", (A[::-1],), slogdet, name="negative", rtol=1e-12),
    complex_sample("slogdet", slogdet, complex_regular(2, 2)),
    *square("inv_slogdet", inverse_and_slogdet),
    complex_sample("inv_slogdet", inverse_and_slogdet, complex_regular(2, 2)),
    Sample("inv_slogdet", (A[::-1],), inverse_and_slogdet, name="negative", rtol=1e-12),
    Sample("lower_triangle", (A,), lower, {"diagonal": 0.5}),
    Sample("lower_triangle", (STACK,), lower, {"diagonal": 0.0}, name="strict"),
    Sample("lower_triangle", (complex_regular(2, 2),), lower, {"diagonal": 0.5}, name="complex"),
]
