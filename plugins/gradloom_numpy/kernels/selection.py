"""Kernels of the selection ops."""

from __future__ import annotations

import numpy as np

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {
    "where": np.where,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "fmax": np.fmax,
    "fmin": np.fmin,
}
