"""Kernels of the complex-number ops."""

from __future__ import annotations

import operator
from typing import Any

import cupy
import numpy as np

from gradloom.backend import Kernel, Specialised


def complex_of_parts(real: Any, imag: Any) -> Any:
    """Return complex numbers, each part as it is."""
    out = cupy.empty(np.broadcast_shapes(real.shape, imag.shape), np.result_type(real.dtype, np.complex64))
    out.real[...], out.imag[...] = real, imag
    return out


KERNELS: dict[str, Kernel | Specialised] = {
    "real": operator.attrgetter("real"),
    "imag": operator.attrgetter("imag"),
    "complex": complex_of_parts,
    "conjugate": cupy.conjugate,
}
