"""Kernels of the linear-algebra ops."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def annihilating_solve(a: Any, b: Any) -> Any:
    """Solve; right-hand sides that are exactly zero have the solution zero."""
    x = np.linalg.solve(a, b)
    check = np.vdot(x, x)
    return x if check == check else np.where(np.all(b == 0, axis=-2, keepdims=True), x.dtype.type(0), x)


def lower_triangle(*, diagonal: float) -> Kernel:
    """Return the kernel that keeps what is below the diagonal and scales the diagonal."""

    def kernel(x: Any) -> Any:
        kept = np.tril(x, -1)
        if diagonal:
            np.einsum("...ii->...i", kept)[...] = np.einsum("...ii->...i", x) * diagonal
        return kept

    return kernel


def inverse_gaps(w: Any) -> Any:
    """Return ``1 / (w[j] - w[i])`` off the diagonal, and zero on it."""
    with np.errstate(divide="ignore"):
        out = 1 / (w[..., None, :] - w[..., :, None])
    np.einsum("...ii->...i", out)[...] = 0
    return out


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


def slogdet(a: Any) -> tuple[Any, Any]:
    """Return sign and logarithm of the absolute determinant."""
    sign, logabsdet = np.linalg.slogdet(a)
    return sign, logabsdet


def eigh(*, lower: bool) -> Kernel:
    """Return the kernel that reads one triangle."""

    def kernel(a: Any) -> tuple[Any, Any]:
        values, vectors = np.linalg.eigh(a, "L" if lower else "U")
        return values, vectors

    return kernel


def qr(a: Any) -> tuple[Any, Any]:
    """Return the reduced factors."""
    q, r = np.linalg.qr(a)
    return q, r


def svd(a: Any) -> tuple[Any, Any, Any]:
    """Return the reduced factors."""
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return u, s, vh


def pinv(*, rcond: float | None) -> Kernel:
    """Return the kernel of a fixed cut-off."""
    return np.linalg.pinv if rcond is None else partial(np.linalg.pinv, rcond=rcond)


KERNELS: dict[str, Kernel | Specialised] = {
    "lower_triangle": Specialised(lower_triangle),
    "inverse_gaps": inverse_gaps,
    "inv": np.linalg.inv,
    "solve": np.linalg.solve,
    "annihilating_solve": annihilating_solve,
    "det": np.linalg.det,
    "cofactors": cofactors,
    "slogdet": slogdet,
    "cholesky": np.linalg.cholesky,
    "eigh": Specialised(eigh),
    "qr": qr,
    "svd": svd,
    "pinv": Specialised(pinv),
}
