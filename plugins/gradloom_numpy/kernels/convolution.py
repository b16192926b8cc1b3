"""Kernel of the convolution."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def convolve(a: Any, v: Any, *, full: bool) -> Any:
    """Convolve rows."""
    mode: Any = "full" if full else "valid"
    if a.ndim == v.ndim == 1:
        return np.convolve(a, v, mode)
    rows = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    m, n = a.shape[-1], v.shape[-1]
    out = np.empty((*rows, m + n - 1 if full else m - n + 1), a.dtype)
    a, v = np.broadcast_to(a, (*rows, m)), np.broadcast_to(v, (*rows, n))
    for row in np.ndindex(rows):
        out[row] = np.convolve(a[row], v[row], mode)
    return out


KERNELS: dict[str, Kernel | Specialised] = {"convolve": convolve}
