"""Discrete Fourier transforms.

The attr ``norm`` says which direction is scaled by the number of points, as in NumPy:
``"backward"``, ``"forward"``, or ``"ortho"`` for both by its root.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.axes import Axes, along_axis
from gradloom.errors import DTypeError, ShapeError
from gradloom.op import define
from gradloom.ops.complex import conjugate, real
from gradloom.ops.indexing import index_set
from gradloom.ops.selection import where
from gradloom.ops.shape import arange, checked_axes, reshape
from gradloom.spec import Spec, real_dtype, sliced

Tensor = Any
AxisTuple = tuple[int, ...]

#: The norm that scales the inverse as another scales the forward direction.
SWAPPED = {"backward": "forward", "forward": "backward", "ortho": "ortho"}


def checked_points(x: Spec, axis: AxisTuple) -> None:
    """Raise unless there are points along some axes."""
    checked_axes(axis, x.ndim)
    if any(x.shape[k] < 1 for k in axis):
        raise ShapeError(
            "a Fourier transform of no points",
            argument="a",
            expected="at least one element along each transformed axis",
            got=f"shape {x.shape}, axes {axis}",
        )


def _with_length(x: Spec, axis: int, length: int, dtype: Any) -> Spec:
    return Spec((*x.shape[:axis], length, *x.shape[axis + 1 :]), dtype)


# -- fft: complex to complex ---------------------------------------------------------------


def fft_promote(x: Spec) -> tuple[np.dtype[Any], ...]:
    return (np.result_type(x.dtype if x.inexact else np.float64, np.complex64),)


def fft_spec(x: Spec, *, axis: AxisTuple, inverse: bool, norm: str) -> Spec:
    checked_points(x, axis)
    return x


# The matrix exp(-2 pi i j k / n) of a transform is symmetric, and so is that of its inverse.
def fft_transpose(cotangent: Tensor, x: Tensor, *, axis: AxisTuple, inverse: bool, norm: str) -> Tensor:
    return fft(cotangent, axis=axis, inverse=inverse, norm=norm)


def fft_axes(x: Spec, *, axis: AxisTuple, inverse: bool, norm: str) -> Axes:
    labels = tuple([None if k in axis else k for k in range(x.ndim)])
    return Axes((labels,), labels)


#: ``numpy.fft.fftn`` and ``ifftn`` of complex numbers.
fft = define("fft", spec=fft_spec, promote=fft_promote, transpose=(fft_transpose,), axes=fft_axes, axis_attrs=("axis",))


# -- rfft: real to half a complex spectrum -------------------------------------------------


def rfft_promote(x: Spec) -> tuple[np.dtype[Any], ...]:
    if x.dtype.kind == "c":
        raise DTypeError(
            "takes real numbers", argument="a", expected="real numbers", got=str(x.dtype), remedy="use np.fft.fft"
        )
    return (np.result_type(x.dtype if x.inexact else np.float64, np.float32),)


def rfft_spec(x: Spec, *, axis: int, norm: str) -> Spec:
    checked_points(x, (axis,))
    return _with_length(x, axis, x.shape[axis] // 2 + 1, np.result_type(x.dtype, np.complex64))


# y_k = sum_j x_j exp(-2 pi i j k / n) for the first n // 2 + 1 frequencies; x is real, so its
# cotangent is the real part of the transposed sum: of a transform of the cotangents, those of
# the other frequencies zero.
def rfft_transpose(cotangent: Tensor, x: Tensor, *, axis: int, norm: str) -> Tensor:
    whole = np.zeros_like(cotangent, shape=x.shape)
    half = tuple([sliced(0, n, 1, m) for n, m in zip(cotangent.shape, x.shape, strict=True)])
    return real(fft(index_set(whole, cotangent, index=half), axis=(axis,), inverse=False, norm=norm))


#: ``numpy.fft.rfft``.
rfft = define(
    "rfft", spec=rfft_spec, promote=rfft_promote, transpose=(rfft_transpose,), axes=along_axis, axis_attrs=("axis",)
)


# -- irfft: half a spectrum to real --------------------------------------------------------


def irfft_spec(x: Spec, *, axis: int, length: int, norm: str) -> Spec:
    checked_axes((axis,), x.ndim)
    if length < 1 or x.shape[axis] != length // 2 + 1:
        raise ShapeError(
            "a Fourier transform of a wrong number of points",
            argument="a, n",
            expected=f"{length // 2 + 1} elements along axis {axis} for n = {length}, 1 or more",
            got=f"shape {x.shape}",
        )
    return _with_length(x, axis, length, real_dtype(x.dtype))


# y_j = sum_k w_k re(x_k exp(2 pi i j k / n)), where w counts the frequency -k too: 2, but 1 for
# k = 0 and, if n is even, k = n / 2. So  ct_k = w_k sum_j ct_j exp(2 pi i j k / n), a
# conjugated forward transform of the real ct.
def irfft_transpose(cotangent: Tensor, x: Tensor, *, axis: int, length: int, norm: str) -> Tensor:
    k = arange(x.shape[axis], like=x)
    once = (k == 0) | (2 * k == length)
    spectrum = conjugate(rfft(cotangent, axis=axis, norm=SWAPPED[norm]))
    return where(reshape(once, shape=(x.shape[axis], *(1,) * (x.ndim - 1 - axis))), spectrum, 2.0 * spectrum)


#: ``numpy.fft.irfft`` of ``length // 2 + 1`` points.
irfft = define(
    "irfft", spec=irfft_spec, promote=fft_promote, transpose=(irfft_transpose,), axes=along_axis, axis_attrs=("axis",)
)
