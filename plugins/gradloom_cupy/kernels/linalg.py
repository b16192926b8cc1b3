"""Kernels of the linear-algebra ops.

Singular and non-converging matrices raise as in NumPy, for which CuPy has to wait for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import cupy
import cupyx
import numpy as np

from gradloom.backend import Kernel, Specialised


def checked(function: Callable[..., Any]) -> Kernel:
    """Return a function of cupy.linalg that raises where the matrix has no result."""

    @wraps(function)
    def kernel(*args: Any, **keywords: Any) -> Any:
        with cupyx.errstate(linalg="raise"):
            return function(*args, **keywords)

    return kernel


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


def lower_triangle(*, diagonal: float) -> Kernel:
    """Return the kernel that keeps what is below the diagonal and scales the diagonal."""

    def kernel(x: Any) -> Any:
        kept = cupy.tril(x, -1)
        on_diagonal = cupy.eye(*x.shape[-2:], dtype=bool)
        return cupy.where(on_diagonal, x * diagonal, kept) if diagonal else kept

    return kernel


def inverse_gaps(w: Any) -> Any:
    """Return ``1 / (w[j] - w[i])`` off the diagonal, and zero on it."""
    gaps = w[..., None, :] - w[..., :, None]
    return cupy.where(cupy.eye(w.shape[-1], dtype=bool), w.dtype.type(0), 1 / gaps)


def slogdet(a: Any) -> tuple[Any, Any]:
    """Return sign and logarithm of the absolute determinant; (0, -inf) for a singular matrix."""
    sign, logarithm = cupy.linalg.slogdet(a)
    return cupy.where(cupy.isneginf(logarithm), sign.dtype.type(0), sign), logarithm


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


def eig(a: Any) -> tuple[Any, Any]:
    """Return complex eigenvalues and eigenvectors, computed on the host: not every CuPy has them."""
    values, vectors = np.linalg.eig(cupy.asnumpy(a))
    dtype = np.result_type(a.dtype, np.complex64)
    return cupy.asarray(values.astype(dtype)), cupy.asarray(vectors.astype(dtype))


def eigh(*, lower: bool) -> Kernel:
    """Return the kernel that reads one triangle."""
    triangle = "L" if lower else "U"

    @checked
    def kernel(a: Any) -> tuple[Any, Any]:
        return tuple(cupy.linalg.eigh(a, triangle))

    return kernel


@checked
def qr(a: Any) -> tuple[Any, Any]:
    """Return the reduced factors."""
    return tuple(cupy.linalg.qr(a))


@checked
def svd(a: Any) -> tuple[Any, Any, Any]:
    """Return the reduced factors."""
    return tuple(cupy.linalg.svd(a, full_matrices=False))


def pinv(*, rcond: float | None) -> Kernel:
    """Return the kernel of a fixed cut-off."""
    cutoff = 1e-15 if rcond is None else rcond

    @checked
    def kernel(a: Any) -> Any:
        return cupy.linalg.pinv(a, cutoff)

    return kernel


KERNELS: dict[str, Kernel | Specialised] = {
    "lower_triangle": Specialised(lower_triangle),
    "inverse_gaps": inverse_gaps,
    "inv": checked(cupy.linalg.inv),
    "solve": solve,
    "annihilating_solve": annihilating_solve,
    "det": det,
    "cofactors": cofactors,
    "cofactor_changes": cofactor_changes,
    "slogdet": slogdet,
    "cholesky": checked(cupy.linalg.cholesky),
    "eig": eig,
    "eigh": Specialised(eigh),
    "qr": qr,
    "svd": svd,
    "pinv": Specialised(pinv),
}
