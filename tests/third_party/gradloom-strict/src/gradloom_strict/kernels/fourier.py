"""Discrete Fourier transforms, an extension of the standard."""

from __future__ import annotations

from typing import Any

import array_api_strict as xp


def fft(x: Any, *, axis: tuple[int, ...], inverse: bool, norm: Any) -> Any:
    transform = xp.fft.ifftn if inverse else xp.fft.fftn
    return transform(x, axes=axis, norm=norm)


def rfft(x: Any, *, axis: int, norm: Any) -> Any:
    return xp.fft.rfft(x, axis=axis, norm=norm)


def irfft(x: Any, *, axis: int, length: int, norm: Any) -> Any:
    return xp.fft.irfft(x, n=length, axis=axis, norm=norm)


KERNELS: dict[str, Any] = {"fft": fft, "rfft": rfft, "irfft": irfft}
