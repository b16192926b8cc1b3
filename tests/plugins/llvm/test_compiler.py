"""The laws of compilers, for the LLVM compiler."""

from __future__ import annotations

from gradloom.testing.compilers import CompilerConformance


class TestLLVM(CompilerConformance):
    """The conformance suite."""

    compiler = "llvm"
