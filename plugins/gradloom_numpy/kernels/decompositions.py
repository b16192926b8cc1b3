"""Kernels of decompositions of matrices."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def inverse_gaps(w: Any) -> Any:
    """Return ``1 / (w[j] - w[i])`` off the diagonal, and zero on it."""
    with np.errstate(divide="ignore"):
        out = 1 / (w[..., None, :] - w[..., :, None])
    np.einsum("...ii->...i", out)[...] = 0
    return out


def eig(a: Any) -> tuple[Any, Any]:
    """Return complex eigenvalues and eigenvectors, also where they are real."""
    values, vectors = np.linalg.eig(a)
    dtype = np.result_type(a.dtype, np.complex64)
    return values.astype(dtype, copy=False), vectors.astype(dtype, copy=False)


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
    "inverse_gaps": inverse_gaps,
    "cholesky": np.linalg.cholesky,
    "eig": eig,
    "eigh": Specialised(eigh),
    "qr": qr,
    "svd": svd,
    "pinv": Specialised(pinv),
}
