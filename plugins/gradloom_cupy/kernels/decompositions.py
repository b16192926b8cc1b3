"""Kernels of decompositions of matrices.

What does not converge raises as in NumPy, for which CuPy has to wait for the device.
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


def inverse_gaps(w: Any) -> Any:
    """Return ``1 / (w[j] - w[i])`` off the diagonal, and zero on it."""
    gaps = w[..., None, :] - w[..., :, None]
    return cupy.where(cupy.eye(w.shape[-1], dtype=bool), w.dtype.type(0), 1 / gaps)


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
    "inverse_gaps": inverse_gaps,
    "cholesky": checked(cupy.linalg.cholesky),
    "eig": eig,
    "eigh": Specialised(eigh),
    "qr": qr,
    "svd": svd,
    "pinv": Specialised(pinv),
}
