"""Kernels of the cast ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def astype(*, dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel that casts to a fixed dtype."""
    return operator.methodcaller("astype", dtype, copy=False)


KERNELS: dict[str, Kernel | Specialised] = {
    "astype": Specialised(astype),
}
