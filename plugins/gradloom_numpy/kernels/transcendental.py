"""Kernels of the transcendental ops."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def expit(x: Any) -> Any:
    """Return the logistic function; where exp overflows the result is the right zero."""
    with np.errstate(over="ignore"):
        return 1.0 / (1.0 + np.exp(-x))


KERNELS: dict[str, Kernel | Specialised] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "expit": expit,
    "logaddexp": np.logaddexp,
    "logaddexp2": np.logaddexp2,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "arcsin": np.arcsin,
    "arccos": np.arccos,
    "arctan": np.arctan,
    "arctan2": np.arctan2,
    "sinh": np.sinh,
    "cosh": np.cosh,
    "tanh": np.tanh,
    "arcsinh": np.arcsinh,
    "arccosh": np.arccosh,
    "arctanh": np.arctanh,
}
