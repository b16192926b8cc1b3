"""Kernels of the complex-number ops."""

from __future__ import annotations

import operator

import cupy

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {
    "real": operator.attrgetter("real"),
    "imag": operator.attrgetter("imag"),
    "conjugate": cupy.conjugate,
}
