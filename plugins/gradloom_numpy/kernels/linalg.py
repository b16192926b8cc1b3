"""Kernels of systems of equations, inverses and determinants."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.memory import empty
from gradloom_numpy.lapack import inv, inv_slogdet, solve_triangular


def annihilating_solve(a: Any, b: Any) -> Any:
    """Solve; right-hand sides that are exactly zero have the solution zero."""
    return _annihilated(np.linalg.solve(a, b), b)


def _annihilated(x: Any, b: Any) -> Any:
    check = np.vdot(x, x)
    return x if check == check else np.where(np.all(b == 0, axis=-2, keepdims=True), x.dtype.type(0), x)


def annihilating_solve_triangular(*, lower: bool) -> Kernel:
    """Return the kernel that solves with one triangle; zeros annihilate as in `annihilating_solve`."""
    return lambda a, b: _annihilated(solve_triangular(a, b, lower=lower), b)


def lower_triangle(*, diagonal: float) -> Kernel:
    """Return the kernel that keeps what is below the diagonal and scales the diagonal."""

    def kernel(x: Any) -> Any:
        out = empty(x.shape, x.dtype)
        out[...] = 0
        np.copyto(out, x, where=np.tri(x.shape[-1], k=-1, dtype=bool))
        if diagonal:
            np.multiply(np.einsum("...ii->...i", x), diagonal, out=np.einsum("...ii->...i", out))
        return out

    return kernel


def cofactors(a: Any) -> Any:
    """Return the cofactors by the singular value decomposition, for matrices of any rank.

    Cofactors of a product are products of cofactors; those of a unitary U are
    ``det(U) conj(U)``, those of a diagonal matrix the products of all other elements.
    """
    finite = np.all(np.isfinite(a), axis=(-2, -1), keepdims=True)
    u, s, vh = np.linalg.svd(a if finite.all() else np.where(finite, a, 0))
    n = s.shape[-1]
    others = np.prod(np.where(np.eye(n, dtype=bool), s.dtype.type(1), s[..., None, :]), axis=-1)
    phase = np.linalg.det(u) * np.linalg.det(vh)
    out = phase[..., None, None] * ((u.conj() * others[..., None, :]) @ vh.conj())
    return out if finite.all() else np.where(finite, out, out.dtype.type(np.nan))


def cofactor_changes(a: Any, t: Any) -> Any:
    """Return how cofactors change along ``t``, for matrices of any rank.

    In the basis of singular vectors the matrix is diagonal: with ``M = U^H t V``, and the
    products ``G[i, j]`` of all singular values but two, the change is ``-M[j, i] G[i, j]`` off
    the diagonal, and on it the sum of ``M[k, k] G[i, k]`` over k.
    """
    finite = np.all(np.isfinite(a), axis=(-2, -1), keepdims=True)
    u, s, vh = np.linalg.svd(a if finite.all() else np.where(finite, a, 0))
    products = _without_two(s)
    inside = u.conj().swapaxes(-1, -2) @ t @ vh.conj().swapaxes(-1, -2)
    change = -inside.swapaxes(-1, -2) * products
    diagonal = np.einsum("...ii->...i", inside)
    np.einsum("...ii->...i", change)[...] = (products @ diagonal[..., None])[..., 0]
    phase = np.linalg.det(u) * np.linalg.det(vh)
    out = phase[..., None, None] * (u.conj() @ change @ vh.conj())
    nothing = np.all(t == 0, axis=(-2, -1), keepdims=True)
    return out if finite.all() else np.where(finite | nothing, out, out.dtype.type(np.nan))


def _without_two(s: Any) -> Any:
    """Return the products of all elements but ``i`` and ``j``, zero for ``i == j``."""
    n = s.shape[-1]
    upper = np.triu(np.ones((n, n), bool), 1)
    one = s.dtype.type(1)
    ones = np.ones_like(s[..., :1])
    between = np.cumprod(np.where(upper, s[..., None, :], one), axis=-1)
    between = np.concatenate([np.ones_like(between[..., :1]), between[..., :-1]], axis=-1)
    before = np.concatenate([ones, np.cumprod(s, axis=-1)[..., :-1]], axis=-1)
    after = np.concatenate([ones, np.cumprod(s[..., ::-1], axis=-1)[..., :-1]], axis=-1)[..., ::-1]
    half = np.where(upper, before[..., :, None] * between * after[..., None, :], s.dtype.type(0))
    return half + half.swapaxes(-1, -2)


def slogdet(a: Any) -> tuple[Any, Any]:
    """Return sign and logarithm of the absolute determinant."""
    sign, logabsdet = np.linalg.slogdet(a)
    return sign, logabsdet


KERNELS: dict[str, Kernel | Specialised] = {
    "lower_triangle": Specialised(lower_triangle),
    "inv": inv,
    "solve": np.linalg.solve,
    "annihilating_solve": annihilating_solve,
    "solve_triangular": solve_triangular,
    "annihilating_solve_triangular": Specialised(annihilating_solve_triangular),
    "det": np.linalg.det,
    "cofactors": cofactors,
    "cofactor_changes": cofactor_changes,
    "slogdet": slogdet,
    "inv_slogdet": inv_slogdet,
}
