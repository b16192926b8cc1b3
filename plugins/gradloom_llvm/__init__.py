"""The LLVM compiler: regions of NumPy kernels as one native kernel each, with explicit vectors."""

from __future__ import annotations

from collections.abc import Callable

from gradloom.compiler import AbstractCompiler
from gradloom.hookspecs import hookimpl

__all__ = ["gradloom_compilers"]


def __dir__() -> list[str]:
    """Return the hooks alone: pluggy takes long to look at each name."""
    return __all__


@hookimpl
def gradloom_compilers(register: Callable[[str, Callable[[], AbstractCompiler]], None]) -> None:
    """Register the compiler ``llvm``."""
    register("llvm", _make)


def _make() -> AbstractCompiler:
    from gradloom_llvm.compiler import LLVMCompiler

    return LLVMCompiler()
