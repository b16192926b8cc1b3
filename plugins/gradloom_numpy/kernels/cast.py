"""Kernels of the cast ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.refusals import number_of


def astype(*, dtype: np.dtype[Any]) -> Kernel:
    """Return the kernel that casts to a fixed dtype."""
    return operator.methodcaller("astype", dtype, copy=False)


def fitted(x: Any, *, dtype: np.dtype[Any]) -> Any:
    """Cast integers to a dtype that must hold them."""
    if x.size:
        for limit in (x.min(), x.max()):
            number_of(limit.item(), dtype)
    return x.astype(dtype)


KERNELS: dict[str, Kernel | Specialised] = {
    "astype": Specialised(astype),
    "fitted": fitted,
}
