"""Kernels of the discrete Fourier transforms."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised


def fft(*, axis: tuple[int, ...], inverse: bool, norm: Any) -> Kernel:
    """Return the kernel of a transform along fixed axes."""
    if len(axis) == 1:
        return partial(np.fft.ifft if inverse else np.fft.fft, axis=axis[0], norm=norm)
    return partial(np.fft.ifftn if inverse else np.fft.fftn, axes=axis, norm=norm)


def rfft(x: Any, *, axis: int, norm: Any) -> Any:
    """Return half of the spectrum of real numbers."""
    return np.fft.rfft(x, axis=axis, norm=norm)


def irfft(x: Any, *, axis: int, length: int, norm: Any) -> Any:
    """Return the real numbers of half a spectrum."""
    return np.fft.irfft(x, length, axis=axis, norm=norm)


KERNELS: dict[str, Kernel | Specialised] = {"fft": Specialised(fft), "rfft": rfft, "irfft": irfft}
