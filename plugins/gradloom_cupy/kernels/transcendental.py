"""Kernels of the transcendental ops."""

from __future__ import annotations

from typing import Any

import cupy

from gradloom.backend import Kernel, Specialised


def expit(x: Any) -> Any:
    """Return the logistic function; where exp overflows the result is the right zero."""
    return 1.0 / (1.0 + cupy.exp(-x))


KERNELS: dict[str, Kernel | Specialised] = {
    "exp": cupy.exp,
    "exp2": cupy.exp2,
    "expm1": cupy.expm1,
    "log": cupy.log,
    "log2": cupy.log2,
    "log10": cupy.log10,
    "log1p": cupy.log1p,
    "expit": expit,
    "logaddexp": cupy.logaddexp,
    "logaddexp2": cupy.logaddexp2,
    "sin": cupy.sin,
    "cos": cupy.cos,
    "tan": cupy.tan,
    "arcsin": cupy.arcsin,
    "arccos": cupy.arccos,
    "arctan": cupy.arctan,
    "arctan2": cupy.arctan2,
    "sinh": cupy.sinh,
    "cosh": cupy.cosh,
    "tanh": cupy.tanh,
    "arcsinh": cupy.arcsinh,
    "arccosh": cupy.arccosh,
    "arctanh": cupy.arctanh,
}
