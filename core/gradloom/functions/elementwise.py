"""Traced counterparts of NumPy's elementwise functions, written from ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.ops.arithmetic import power, reciprocal, sqrt, square
from gradloom.ops.cast import astype
from gradloom.ops.complex import imag, real
from gradloom.ops.selection import where

Tensor = Any


@implements(operator.pow, np.power)
def np_power(x: Any, y: Any) -> Tensor:
    """Return a power; simple literal exponents take the op that NumPy takes."""
    if type(y) in (int, float) and getattr(x, "dtype", np.dtype(bool)).kind in "fc":
        if y == 2:
            return square(x)
        if y == 1:
            return np.positive(x)
        if y == 0.5:
            return sqrt(x)
        if y == -1:
            return reciprocal(x)
    return power(x, y)


@implements(np.where)
def np_where(condition: Any, x: Any = None, y: Any = None, /) -> Tensor:
    """Choose elements from two arrays."""
    if x is None and y is None:
        return np.nonzero(condition)
    return where(condition, x, y)


@implements(np.astype)
def np_astype(x: Any, dtype: Any, /, *, copy: bool = True, device: Any = None) -> Tensor:
    """Cast to a dtype."""
    refuse("numpy.astype", device=device)
    return x if x.dtype == np.dtype(dtype) else astype(x, dtype=np.dtype(dtype))


@implements(np.real)
def np_real(val: Any) -> Tensor:
    """Return the real part."""
    return real(val) if val.dtype.kind == "c" else val


@implements(np.imag)
def np_imag(val: Any) -> Tensor:
    """Return the imaginary part."""
    return imag(val)
