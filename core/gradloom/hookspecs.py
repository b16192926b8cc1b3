"""The doors: the hooks through which plugins register backends, executors and ops."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import pluggy

from gradloom.backend import AbstractBackend, Kernel, Specialised
from gradloom.compiler import AbstractCompiler
from gradloom.executor import AbstractExecutor
from gradloom.op import Op

hookspec = pluggy.HookspecMarker("gradloom")
#: Marks a plugin's hook implementations.
hookimpl = pluggy.HookimplMarker("gradloom")


def __dir__() -> list[str]:
    """Return the hooks alone: pluggy takes long to look at each name."""
    return [name for name in globals() if name.startswith("gradloom_")]


class RegisterOp(Protocol):
    """What `gradloom_ops` is called with."""

    def __call__(self, op: Op, *, kernels: Mapping[str, Kernel | Specialised] | None = None) -> Op:
        """Register an op, and its kernels by the names of the backends they are for."""


@hookspec
def gradloom_backends(register: Callable[[str, Callable[[], AbstractBackend]], None]) -> None:
    """Register backends: call ``register(name, factory)`` for each."""


@hookspec
def gradloom_compilers(register: Callable[[str, Callable[[], AbstractCompiler]], None]) -> None:
    """Register compilers: call ``register(name, factory)`` for each."""


@hookspec
def gradloom_executors(register: Callable[[str, Callable[[], AbstractExecutor]], None]) -> None:
    """Register executors: call ``register(name, factory)`` for each."""


@hookspec
def gradloom_ops(register: RegisterOp) -> None:
    """Register ops: call ``register(op, kernels={"numpy": kernel, ...})`` for each.

    ``kernels`` holds kernels for backends of other plugins, by the backend's name; a backend's
    own kernel comes before them. Without ``kernels``, backends have their own or none.
    """
