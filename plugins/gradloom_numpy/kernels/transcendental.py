"""Kernels of the transcendental ops."""

from __future__ import annotations

import numpy as np

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {
    "sin": np.sin,
    "cos": np.cos,
}
