"""Kernels of systems of equations, inverses and determinants; singular matrices raise as in NumPy."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom_cupy.kernels.decompositions import checked, svd

inv = checked(cupy.linalg.inv)


@checked
def solve(a: Any, b: Any) -> Any:
    """Solve; the leading axes broadcast, which CuPy leaves to its caller."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a = cupy.broadcast_to(a, leading + a.shape[-2:])
    return cupy.linalg.solve(a, cupy.broadcast_to(b, leading + b.shape[-2:]))


def annihilating_solve(a: Any, b: Any) -> Any:
    """Solve; right-hand sides that are exactly zero have the solution zero."""
    x = solve(a, b)
    return cupy.where(cupy.isnan(x) & cupy.all(b == 0, axis=-2, keepdims=True), x.dtype.type(0), x)


def solve_triangular(*, lower: bool) -> Kernel:
    """Return the kernel that solves with one triangle of the matrix."""
    triangle = cupy.tril if lower else cupy.triu
    return lambda a, b: solve(triangle(a), b)


def annihilating_solve_triangular(*, lower: bool) -> Kernel:
    """Return the kernel that solves with one triangle, annihilating zeros."""
    triangle = cupy.tril if lower else cupy.triu
    return lambda a, b: annihilating_solve(triangle(a), b)


def lower_triangle(*, diagonal: float) -> Kernel:
    """Return the kernel that keeps what is below the diagonal and scales the diagonal."""

    def kernel(x: Any) -> Any:
        kept = cupy.tril(x, -1)
        on_diagonal = cupy.eye(*x.shape[-2:], dtype=bool)
        return cupy.where(on_diagonal, x * diagonal, kept) if diagonal else kept

    return kernel


def slogdet(a: Any) -> tuple[Any, Any]:
    """Return sign and logarithm of the absolute determinant; (0, -inf) for a singular matrix."""
    sign, logarithm = cupy.linalg.slogdet(a)
    return cupy.where(cupy.isneginf(logarithm), sign.dtype.type(0), sign), logarithm


def inv_slogdet(a: Any) -> tuple[Any, Any, Any]:
    """Return the inverse, and what `slogdet` does."""
    return (inv(a), *slogdet(a))


def det(a: Any) -> Any:
    """Return the determinant."""
    sign, logarithm = slogdet(a)
    return sign * cupy.exp(logarithm)


def cofactors(a: Any) -> Any:
    """Return the cofactors by the singular value decomposition, for matrices of any rank.

    Cofactors of a product are products of cofactors; those of a unitary U are
    ``det(U) conj(U)``, those of a diagonal matrix the products of all other elements.
    """
    finite = cupy.all(cupy.isfinite(a), axis=(-2, -1), keepdims=True)
    u, s, vh = svd(cupy.where(finite, a, a.dtype.type(0)))
    one = s.dtype.type(1)
    others = cupy.prod(cupy.where(cupy.eye(s.shape[-1], dtype=bool), one, s[..., None, :]), axis=-1)
    phase = det(u) * det(vh)
    out = phase[..., None, None] * ((u.conj() * others[..., None, :]) @ vh.conj())
    return cupy.where(finite, out, out.dtype.type("nan"))


def cofactor_changes(a: Any, t: Any) -> Any:
    """Return how cofactors change along ``t``, for matrices of any rank.

    In the basis of singular vectors the matrix is diagonal: with ``M = U^H t V``, and the
    products ``G[i, j]`` of all singular values but two, the change is ``-M[j, i] G[i, j]`` off
    the diagonal, and on it the sum of ``M[k, k] G[i, k]`` over k.
    """
    finite = cupy.all(cupy.isfinite(a), axis=(-2, -1), keepdims=True)
    u, s, vh = svd(cupy.where(finite, a, a.dtype.type(0)))
    products = _without_two(s)
    inside = u.conj().swapaxes(-1, -2) @ t @ vh.conj().swapaxes(-1, -2)
    on_diagonal = cupy.eye(s.shape[-1], dtype=bool)
    diagonal = cupy.sum(cupy.where(on_diagonal, inside, inside.dtype.type(0)), axis=-2)
    sums = (products @ diagonal[..., None])[..., 0]
    change = cupy.where(on_diagonal, sums[..., None], -inside.swapaxes(-1, -2) * products)
    phase = det(u) * det(vh)
    out = phase[..., None, None] * (u.conj() @ change @ vh.conj())
    nothing = cupy.all(t == 0, axis=(-2, -1), keepdims=True)
    return cupy.where(finite | nothing, out, out.dtype.type("nan"))


def _without_two(s: Any) -> Any:
    """Return the products of all elements but ``i`` and ``j``, zero for ``i == j``."""
    n = s.shape[-1]
    upper = cupy.triu(cupy.ones((n, n), dtype=bool), 1)
    one = s.dtype.type(1)
    ones = cupy.ones_like(s[..., :1])
    between = cupy.cumprod(cupy.where(upper, s[..., None, :], one), axis=-1)
    between = cupy.concatenate((cupy.ones_like(between[..., :1]), between[..., :-1]), axis=-1)
    before = cupy.concatenate((ones, cupy.cumprod(s, axis=-1)[..., :-1]), axis=-1)
    after = cupy.concatenate((ones, cupy.cumprod(s[..., ::-1], axis=-1)[..., :-1]), axis=-1)[..., ::-1]
    half = cupy.where(upper, before[..., :, None] * between * after[..., None, :], s.dtype.type(0))
    return half + half.swapaxes(-1, -2)


KERNELS: dict[str, Kernel | Specialised] = {
    "lower_triangle": Specialised(lower_triangle),
    "inv": inv,
    "solve": solve,
    "annihilating_solve": annihilating_solve,
    "solve_triangular": Specialised(solve_triangular),
    "annihilating_solve_triangular": Specialised(annihilating_solve_triangular),
    "det": det,
    "cofactors": cofactors,
    "cofactor_changes": cofactor_changes,
    "slogdet": slogdet,
    "inv_slogdet": inv_slogdet,
}
