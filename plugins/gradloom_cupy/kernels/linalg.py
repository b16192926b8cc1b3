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
    "slogdet": slogdet,
    "cholesky": checked(cupy.linalg.cholesky),
    "eigh": Specialised(eigh),
    "qr": qr,
    "svd": svd,
    "pinv": Specialised(pinv),
}
