"""Kernels of the comparison, logic and bit ops."""

from __future__ import annotations

from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised


def truth(x: Any) -> Any:
    """Return which elements are not zero; CuPy's logical functions take no complex numbers."""
    return x != 0 if x.dtype.kind == "c" else x


def logical_and(x: Any, y: Any) -> Any:
    """Return where both are not zero."""
    return cupy.logical_and(truth(x), truth(y))


def logical_or(x: Any, y: Any) -> Any:
    """Return where either is not zero."""
    return cupy.logical_or(truth(x), truth(y))


def logical_xor(x: Any, y: Any) -> Any:
    """Return where exactly one is not zero."""
    return cupy.logical_xor(truth(x), truth(y))


def logical_not(x: Any) -> Any:
    """Return where an array is zero."""
    return cupy.logical_not(truth(x))


KERNELS: dict[str, Kernel | Specialised] = {
    "equal": cupy.equal,
    "not_equal": cupy.not_equal,
    "less": cupy.less,
    "less_equal": cupy.less_equal,
    "greater": cupy.greater,
    "greater_equal": cupy.greater_equal,
    "logical_and": logical_and,
    "logical_or": logical_or,
    "logical_xor": logical_xor,
    "logical_not": logical_not,
    "isnan": cupy.isnan,
    "isinf": cupy.isinf,
    "isfinite": cupy.isfinite,
    "signbit": cupy.signbit,
    "bitwise_and": cupy.bitwise_and,
    "bitwise_or": cupy.bitwise_or,
    "bitwise_xor": cupy.bitwise_xor,
    "invert": cupy.invert,
    "left_shift": cupy.left_shift,
    "right_shift": cupy.right_shift,
    "bitwise_count": cupy.bitwise_count,
}
