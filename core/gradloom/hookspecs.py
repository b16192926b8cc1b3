"""The doors: the hooks through which plugins register backends, executors and ops."""

from __future__ import annotations

from collections.abc import Callable

import pluggy

from gradloom.backend import AbstractBackend
from gradloom.executor import AbstractExecutor
from gradloom.op import Op

hookspec = pluggy.HookspecMarker("gradloom")
#: Marks a plugin's hook implementations.
hookimpl = pluggy.HookimplMarker("gradloom")


@hookspec
def gradloom_backends(register: Callable[[str, Callable[[], AbstractBackend]], None]) -> None:
    """Register backends: call ``register(name, factory)`` for each."""


@hookspec
def gradloom_executors(register: Callable[[str, Callable[[], AbstractExecutor]], None]) -> None:
    """Register executors: call ``register(name, factory)`` for each."""


@hookspec
def gradloom_ops(register: Callable[[Op], Op]) -> None:
    """Register ops: call ``register(op)`` for each."""
