"""Kernels of the cumulative ops."""

from __future__ import annotations

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {}
