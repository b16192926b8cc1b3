"""The CuPy backend: gradloom on NVIDIA GPUs.

This module is light: CuPy itself is imported when the first kernel or array is needed.
"""

from __future__ import annotations

from collections.abc import Callable

from gradloom.backend import AbstractBackend
from gradloom.hookspecs import hookimpl

__all__ = ["gradloom_backends"]


def __dir__() -> list[str]:
    """Return the hooks alone: pluggy takes long to look at each name."""
    return __all__


def _cupy_backend() -> AbstractBackend:
    from gradloom_cupy.backend import CupyBackend

    return CupyBackend()


@hookimpl
def gradloom_backends(register: Callable[[str, Callable[[], AbstractBackend]], None]) -> None:
    """Register the backend ``cupy``."""
    register("cupy", _cupy_backend)
