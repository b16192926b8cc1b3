"""Traced counterparts of NumPy's functions of complex numbers and their parts, written from ops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.alias import Whole, restores
from gradloom.dispatch import implements, implements_attribute
from gradloom.errors import DTypeError
from gradloom.functions.indexing import np_setitem
from gradloom.ops.arithmetic import absolute, sign
from gradloom.ops.complex import complex, imag, real
from gradloom.ops.selection import where

Tensor = Any


@implements(np.real)
def np_real(val: Any) -> Tensor:
    """Return the real part."""
    return val._note_view(real(val), Whole(_with_real)) if val.dtype.kind == "c" else val


@implements_attribute("real", np_real)
def assign_real(x: Tensor, value: Any) -> Tensor:
    """Return what ``x`` is after ``x.real = value``."""
    if x.dtype.kind != "c":
        return x if value is x else np_setitem(x, ..., value)
    return x if restores(value, x, _with_real) else _with_real(x, np_setitem(real(x), ..., value))


def _with_real(z: Tensor, part: Tensor) -> Tensor:
    return complex(part, imag(z))


@implements(np.imag)
def np_imag(val: Any) -> Tensor:
    """Return the imaginary part."""
    return val._note_view(imag(val), Whole(_with_imag)) if val.dtype.kind == "c" else imag(val)


@implements_attribute("imag", np_imag)
def assign_imag(x: Tensor, value: Any) -> Tensor:
    """Return what ``x`` is after ``x.imag = value``."""
    if x.dtype.kind != "c":
        raise DTypeError(
            "a real array has no imaginary part to assign to",
            op="imag",
            argument="x",
            expected="a complex dtype",
            got=str(x.dtype),
            remedy="make it complex before, x = x.astype(complex)",
        )
    return x if restores(value, x, _with_imag) else _with_imag(x, np_setitem(imag(x), ..., value))


def _with_imag(z: Tensor, part: Tensor) -> Tensor:
    return complex(real(z), part)


@implements(np.angle)
def np_angle(z: Any, deg: bool = False) -> Tensor:
    """Return the angle of complex numbers."""
    angle = np.arctan2(imag(z), real(z)) if z.dtype.kind == "c" else np.arctan2(0, z)
    return angle * (180.0 / math.pi) if deg else angle


@implements(np.real_if_close)
def np_real_if_close(a: Any, tol: float = 100) -> Tensor:
    """Return the real part where the imaginary part is negligible; looks at the values."""
    if a.dtype.kind != "c":
        return a
    limit = tol * float(np.finfo(a.dtype).eps) if tol > 1 else tol
    return np_real(a) if bool(np.all(absolute(imag(a)) < limit)) else a


@implements(np.isreal)
def np_isreal(x: Any) -> Tensor:
    """Return where the imaginary part is zero."""
    return imag(x) == 0


@implements(np.iscomplex)
def np_iscomplex(x: Any) -> Tensor:
    """Return where the imaginary part is not zero."""
    return imag(x) != 0


# Of z with one infinite part the direction is that of the axis; of two there is none, and z / |z| is NaN.
@implements(np.sign)
def np_sign(x: Any) -> Tensor:
    """Return the sign; of a complex number, its direction."""
    if x.dtype.kind != "c":
        return sign(x)
    size = absolute(x)
    along_real, along_imag = np.isinf(real(x)), np.isinf(imag(x))
    axis = complex(where(along_real, sign(real(x)), 0.0), where(along_imag, sign(imag(x)), 0.0))
    return where(along_real ^ along_imag, axis, where(size == 0, 0.0, x / size))
