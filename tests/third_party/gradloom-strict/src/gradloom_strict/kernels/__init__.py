"""Kernels written with the array API standard."""

from __future__ import annotations

from typing import Any

from gradloom_strict.kernels import algebra, convolution, elementwise, fourier, indexing, structure

KERNELS: dict[str, Any] = {
    **elementwise.KERNELS,
    **structure.KERNELS,
    **indexing.KERNELS,
    **algebra.KERNELS,
    **convolution.KERNELS,
    **fourier.KERNELS,
}
