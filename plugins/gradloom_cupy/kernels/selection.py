"""Kernels of the selection ops."""

from __future__ import annotations

import cupy

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {
    "where": cupy.where,
    "maximum": cupy.maximum,
    "minimum": cupy.minimum,
    "fmax": cupy.fmax,
    "fmin": cupy.fmin,
}
