"""The NumPy backend: gradloom's default, and the oracle for all others."""

from __future__ import annotations

from collections.abc import Callable

from gradloom.backend import AbstractBackend
from gradloom.hookspecs import hookimpl

__all__ = ["gradloom_backends"]


def __dir__() -> list[str]:
    """Return the hooks alone: pluggy takes long to look at each name."""
    return __all__


def _numpy_backend() -> AbstractBackend:
    from gradloom_numpy.backend import NumpyBackend

    return NumpyBackend()


@hookimpl
def gradloom_backends(register: Callable[[str, Callable[[], AbstractBackend]], None]) -> None:
    """Register the backend ``numpy``."""
    register("numpy", _numpy_backend)
