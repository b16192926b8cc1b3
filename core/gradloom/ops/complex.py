"""Ops on the parts of complex numbers; linear over the reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.dispatch import implements_ufunc
from gradloom.op import define
from gradloom.ops.cast import astype
from gradloom.spec import Spec, real_dtype

Tensor = Any


def part_spec(x: Spec) -> Spec:
    return x.with_dtype(real_dtype(x.dtype))


# The transpose t of a real-linear map f satisfies Re(c f(z)) = Re(t(c) z) for all z: c for the
# real part, and -i c for the imaginary part, since Re(-i c z) = c Im(z) for real c.
def real_transpose(cotangent: Tensor, x: Tensor) -> Tensor:
    return astype(cotangent, dtype=x.dtype)


real = define("real", spec=part_spec, transpose=(real_transpose,), elementwise=True, view=True)


def imag_transpose(cotangent: Tensor, x: Tensor) -> Tensor:
    return astype(cotangent, dtype=x.dtype) * (-1j if x.dtype.kind == "c" else 0.0)


imag = define("imag", spec=part_spec, transpose=(imag_transpose,), elementwise=True, view=True)


def conjugate_spec(x: Spec) -> Spec:
    return x


def conjugate_transpose(cotangent: Tensor, x: Tensor) -> Tensor:
    return conjugate(cotangent) if x.dtype.kind == "c" else cotangent


conjugate = implements_ufunc(
    define("conjugate", spec=conjugate_spec, transpose=(conjugate_transpose,), elementwise=True), np.conjugate
)
