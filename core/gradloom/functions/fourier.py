"""Traced counterparts of numpy.fft, written from ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions._arguments import axis_index, axis_tuple
from gradloom.ops.fourier import SWAPPED, fft, irfft, rfft
from gradloom.ops.indexing import getitem, index_set
from gradloom.spec import WHOLE

Tensor = Any


# -- arguments -----------------------------------------------------------------------------


def _norm(op: str, norm: Any) -> str:
    if norm is not None and norm not in SWAPPED:
        raise ArgumentError(
            "no such normalisation",
            op=op,
            argument="norm",
            expected="'backward', 'ortho', 'forward' or None",
            got=repr(norm),
        )
    return norm or "backward"


def _sizes(op: str, a: Tensor, s: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Return the axes to transform, each with its number of points, None for all."""
    if axes is None:
        count = a.ndim if s is None else len(s)
        axes = tuple(range(-count, 0))
    axes = tuple([axis_index(op, k, a.ndim, "axes") for k in axes])
    if s is None:
        return axes, (None,) * len(axes)
    if len(s) != len(axes):
        raise ShapeError(
            "lengths and axes differ in number",
            op=op,
            argument="s",
            expected=f"{len(axes)} lengths for the axes {axes}",
            got=tuple(s),
            remedy="name as many axes with axes=",
        )
    return axes, tuple([None if n is None or n == -1 else operator.index(n) for n in s])


def _resized(op: str, a: Tensor, axis: int, n: int | None) -> Tensor:
    """Return a tensor with zeros added to, or elements cut off from, the end of an axis."""
    length = a.shape[axis]
    if n is None or n == length:
        return a
    if n < 1:
        raise ShapeError(
            f"Invalid number of FFT data points ({n}) specified.", op=op, argument="n", expected="1 or more", got=n
        )
    part = ("slice", 0, min(n, length), 1)
    index = tuple([part if k == axis else WHOLE for k in range(a.ndim)])
    if n < length:
        return getitem(a, index=index)
    return index_set(np.zeros_like(a, shape=(*a.shape[:axis], n, *a.shape[axis + 1 :])), a, index=index)


def _complex(op: str, a: Tensor, s: Any, axes: Any, norm: Any, out: Any, inverse: bool) -> Tensor:
    """Transform complex numbers along axes; an axis may be named twice."""
    refuse(op, out=out)
    found, sizes = _sizes(op, a, s, axes)
    norm = _norm(op, norm)
    for axis, n in zip(found, sizes, strict=True):
        a = _resized(op, a, axis, n)
    if len(set(found)) == len(found):
        return fft(a, axis=found, inverse=inverse, norm=norm)
    for axis in found:
        a = fft(a, axis=(axis,), inverse=inverse, norm=norm)
    return a


def _real(op: str, a: Tensor, s: Any, axes: Any, norm: Any, out: Any) -> Tensor:
    """Transform real numbers along axes, the last of which gives half a spectrum."""
    refuse(op, out=out)
    found, sizes = _sizes(op, a, s, axes)
    norm = _norm(op, norm)
    half = rfft(_resized(op, a, found[-1], sizes[-1]), axis=found[-1], norm=norm)
    rest = zip(found[:-1], sizes[:-1], strict=True)
    return _each(op, half, rest, False, norm)


def _hermitian(op: str, a: Tensor, s: Any, axes: Any, norm: Any, out: Any) -> Tensor:
    """Transform spectra of real numbers back, given the first half along the last axis."""
    refuse(op, out=out)
    found, sizes = _sizes(op, a, s, axes)
    norm = _norm(op, norm)
    last = found[-1]
    length = 2 * (a.shape[last] - 1) if sizes[-1] is None else sizes[-1]
    dtype = a.dtype
    a = _each(op, a, zip(found[:-1], sizes[:-1], strict=True), True, norm)
    if length < 1:
        raise ShapeError(
            f"Invalid number of FFT data points ({length}) specified.",
            op=op,
            argument="n",
            expected="1 or more",
            got=length,
            remedy="pass the number of points of the result",
        )
    result = irfft(_resized(op, a, last, length // 2 + 1), axis=last, length=length, norm=norm)
    return np.astype(result, dtype) if dtype == np.float16 else result


def _each(op: str, a: Tensor, axes: Any, inverse: bool, norm: str) -> Tensor:
    for axis, n in axes:
        a = fft(_resized(op, a, axis, n), axis=(axis,), inverse=inverse, norm=norm)
    return a


def _lengths(n: Any) -> Any:
    return None if n is None else (n,)


# -- complex transforms --------------------------------------------------------------------


@implements(np.fft.fft)
def np_fft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, out: Any = None) -> Tensor:
    """Transform along an axis."""
    return _complex("numpy.fft.fft", a, _lengths(n), (axis,), norm, out, False)


@implements(np.fft.ifft)
def np_ifft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, out: Any = None) -> Tensor:
    """Transform back along an axis."""
    return _complex("numpy.fft.ifft", a, _lengths(n), (axis,), norm, out, True)


@implements(np.fft.fft2)
def np_fft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Tensor:
    """Transform along two axes."""
    return _complex("numpy.fft.fft2", a, s, axes, norm, out, False)


@implements(np.fft.ifft2)
def np_ifft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Tensor:
    """Transform back along two axes."""
    return _complex("numpy.fft.ifft2", a, s, axes, norm, out, True)


@implements(np.fft.fftn)
def np_fftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Tensor:
    """Transform along axes."""
    return _complex("numpy.fft.fftn", a, s, axes, norm, out, False)


@implements(np.fft.ifftn)
def np_ifftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Tensor:
    """Transform back along axes."""
    return _complex("numpy.fft.ifftn", a, s, axes, norm, out, True)


# -- transforms of and to real numbers -----------------------------------------------------


@implements(np.fft.rfft)
def np_rfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, out: Any = None) -> Tensor:
    """Transform real numbers along an axis."""
    return _real("numpy.fft.rfft", a, _lengths(n), (axis,), norm, out)


@implements(np.fft.irfft)
def np_irfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, out: Any = None) -> Tensor:
    """Transform half a spectrum back to real numbers."""
    return _hermitian("numpy.fft.irfft", a, _lengths(n), (axis,), norm, out)


@implements(np.fft.rfft2)
def np_rfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Tensor:
    """Transform real numbers along two axes."""
    return _real("numpy.fft.rfft2", a, s, axes, norm, out)


@implements(np.fft.irfft2)
def np_irfft2(a: Any, s: Any = None, axes: Any = (-2, -1), norm: Any = None, out: Any = None) -> Tensor:
    """Transform half a spectrum of two axes back to real numbers."""
    return _hermitian("numpy.fft.irfft2", a, s, axes, norm, out)


@implements(np.fft.rfftn)
def np_rfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Tensor:
    """Transform real numbers along axes."""
    return _real("numpy.fft.rfftn", a, s, axes, norm, out)


@implements(np.fft.irfftn)
def np_irfftn(a: Any, s: Any = None, axes: Any = None, norm: Any = None, out: Any = None) -> Tensor:
    """Transform half a spectrum of several axes back to real numbers."""
    return _hermitian("numpy.fft.irfftn", a, s, axes, norm, out)


@implements(np.fft.hfft)
def np_hfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, out: Any = None) -> Tensor:
    """Transform numbers with Hermitian symmetry, given the first half."""
    swapped = SWAPPED[_norm("numpy.fft.hfft", norm)]
    return _hermitian("numpy.fft.hfft", np.conjugate(a), _lengths(n), (axis,), swapped, out)


@implements(np.fft.ihfft)
def np_ihfft(a: Any, n: Any = None, axis: Any = -1, norm: Any = None, out: Any = None) -> Tensor:
    """Transform real numbers back to the first half of what has Hermitian symmetry."""
    swapped = SWAPPED[_norm("numpy.fft.ihfft", norm)]
    return np.conjugate(_real("numpy.fft.ihfft", a, _lengths(n), (axis,), swapped, out))


# -- the order of frequencies --------------------------------------------------------------


@implements(np.fft.fftshift)
def np_fftshift(x: Any, axes: Any = None) -> Tensor:
    """Move the zero frequency to the middle."""
    found = axis_tuple("numpy.fft.fftshift", axes, x.ndim, "axes")
    return np.roll(x, [x.shape[k] // 2 for k in found], found)


@implements(np.fft.ifftshift)
def np_ifftshift(x: Any, axes: Any = None) -> Tensor:
    """Undo `numpy.fft.fftshift`."""
    found = axis_tuple("numpy.fft.ifftshift", axes, x.ndim, "axes")
    return np.roll(x, [-(x.shape[k] // 2) for k in found], found)
