"""Kernels of the complex-number ops."""

from __future__ import annotations

import numpy as np

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {
    "real": np.real,
    "imag": np.imag,
    "conjugate": np.conjugate,
}
