"""The laws of compilers, for the LLVM compiler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.compiler import compilers
from gradloom.testing.compilers import CompilerConformance

LLVM = compilers.get("llvm")


class TestLLVM(CompilerConformance):
    """The conformance suite."""

    compiler = "llvm"


def test_starting_is_begun_before_tracing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for each signature; where tensors of another trace go in, nothing will be compiled."""
    events: list[str] = []
    monkeypatch.setattr(type(LLVM), "prepare", lambda self: events.append("prepare"))

    def f(x: Any) -> Any:
        events.append("trace")
        return np.sum(np.sin(x))

    fast = gl.jit(gl.grad(f))
    for n in (3, 3, 4):
        fast(np.ones(n))
    assert events == ["prepare", "trace"] * 2
    events.clear()
    gl.make_graph(gl.jit(f))(np.ones(3))
    assert events == ["trace"]
