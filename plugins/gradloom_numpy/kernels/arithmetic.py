"""Kernels of the arithmetic ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def annihilating_multiply(x: Any, y: Any) -> Any:
    """Multiply; where x is exactly zero the result is zero, whatever y is."""
    product = x * y
    if type(product) is not np.ndarray:
        return product if product == product or x != 0 else product.dtype.type(0)
    # One pass over the product finds out whether any element needs mending: a sum of squares
    # is NaN exactly if an element is.
    check = np.vdot(product, product)
    if check != check:
        np.copyto(product, 0, where=np.isnan(product) & (x == 0))
    return product


KERNELS: dict[str, Kernel | Specialised] = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "divide": operator.truediv,
    "negative": operator.neg,
    "annihilating_multiply": annihilating_multiply,
}
