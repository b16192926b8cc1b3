"""Ops on the parts of complex numbers; linear over the reals."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.dispatch import implements_ufunc
from gradloom.op import define
from gradloom.ops._elementwise import broadcast_shape, resolve_dtypes
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


def conjugate_promote(x: Spec) -> tuple[Any, ...]:
    return resolve_dtypes(np.conjugate, "conjugate", (x,))[:1]


def conjugate_spec(x: Spec) -> Spec:
    return x


def conjugate_transpose(cotangent: Tensor, x: Tensor) -> Tensor:
    return conjugate(cotangent) if x.dtype.kind == "c" else cotangent


conjugate = implements_ufunc(
    define(
        "conjugate",
        spec=conjugate_spec,
        promote=conjugate_promote,
        transpose=(conjugate_transpose,),
        elementwise=True,
    ),
    np.conjugate,
)


def complex_promote(real: Spec, imag: Spec) -> tuple[Any, ...]:
    return resolve_dtypes(np.hypot, "complex", (real, imag))[:2]


def complex_spec(real: Spec, imag: Spec) -> Spec:
    dtype = np.result_type(real.dtype, np.complex64)
    return Spec(broadcast_shape("complex", real.shape, imag.shape), dtype)


def complex_transpose_real(cotangent: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return unbroadcast(real(cotangent), x.spec)


# Re(c i y) = -Im(c) y.
def complex_transpose_imag(cotangent: Tensor, x: Tensor, y: Tensor) -> Tensor:
    return unbroadcast(-imag(cotangent), y.spec)


#: The number of two parts; unlike in ``x + 1j * y``, an infinite or undefined one leaves the other alone.
complex = define(
    "complex",
    spec=complex_spec,
    promote=complex_promote,
    transpose=(complex_transpose_real, complex_transpose_imag),
    linear="jointly",
    elementwise=True,
)
