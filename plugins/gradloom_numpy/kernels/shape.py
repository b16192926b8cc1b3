"""Kernels of the shape ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def reshape(*, shape: tuple[int, ...]) -> Kernel:
    """Return the kernel that reshapes to a fixed shape."""
    return operator.methodcaller("reshape", shape)


def broadcast_to(x: Any, *, shape: tuple[int, ...]) -> Any:
    """Broadcast without copying."""
    return np.broadcast_to(x, shape)


KERNELS: dict[str, Kernel | Specialised] = {
    "reshape": Specialised(reshape),
    "broadcast_to": broadcast_to,
}
