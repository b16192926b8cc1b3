"""Kernels of decompositions of matrices."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.memory import empty
from gradloom_numpy.lapack import eigh


def inverse_gaps(w: Any) -> Any:
    """Return ``1 / (w[j] - w[i])`` off the diagonal, and zero on it."""
    out = empty((*w.shape, w.shape[-1]), w.dtype)
    np.subtract(w[..., None, :], w[..., :, None], out=out)
    with np.errstate(divide="ignore"):
        np.divide(1, out, out=out)
    np.einsum("...ii->...i", out)[...] = 0
    return out


def eig(a: Any) -> tuple[Any, Any]:
    """Return complex eigenvalues and eigenvectors, also where they are real."""
    values, vectors = np.linalg.eig(a)
    dtype = np.result_type(a.dtype, np.complex64)
    return values.astype(dtype, copy=False), vectors.astype(dtype, copy=False)


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
    "eigh": eigh,
    "qr": qr,
    "svd": svd,
    "pinv": Specialised(pinv),
}
