"""A backend of a third party: array-api-strict arrays, written through gradloom's public doors."""

from __future__ import annotations

from typing import Any

from gradloom.hookspecs import hookimpl


def _backend() -> Any:
    from gradloom_strict.backend import StrictBackend

    return StrictBackend()


@hookimpl
def gradloom_backends(register: Any) -> None:
    """Register the backend ``strict``."""
    register("strict", _backend)
