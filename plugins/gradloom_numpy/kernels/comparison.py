"""Kernels of the comparison, logic and bit ops."""

from __future__ import annotations

from gradloom.backend import Kernel, Specialised

KERNELS: dict[str, Kernel | Specialised] = {}
