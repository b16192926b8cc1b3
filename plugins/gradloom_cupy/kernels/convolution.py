"""Kernel of the convolution."""

from __future__ import annotations

from typing import Any

import cupy
import numpy as np

from gradloom.backend import Kernel, Specialised


def convolve(a: Any, v: Any, *, full: bool) -> Any:
    """Convolve rows."""
    mode: Any = "full" if full else "valid"
    if a.ndim == v.ndim == 1:
        return cupy.convolve(a, v, mode)
    rows = np.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    m, n = a.shape[-1], v.shape[-1]
    out = cupy.empty((*rows, m + n - 1 if full else m - n + 1), a.dtype)
    a, v = cupy.broadcast_to(a, (*rows, m)), cupy.broadcast_to(v, (*rows, n))
    for row in np.ndindex(rows):
        out[row] = cupy.convolve(a[row], v[row], mode)
    return out


KERNELS: dict[str, Kernel | Specialised] = {"convolve": convolve}
