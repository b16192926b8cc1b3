"""The laws of compilers, for the LLVM compiler."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import ahead
from gradloom.compiler import compilers
from gradloom.testing.compilers import CompilerConformance
from gradloom_llvm import engine, native, tape

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


def test_gradients_do_not_warn_where_their_ops_are_compiled() -> None:
    """A derivative outside of regions is one of a gradient, also where what it is the derivative of is in a region."""

    def f(x: Any, w: Any) -> Any:
        return np.sum(np.sort(np.sort(x) * w + 1.0) * w)

    gradient = gl.jit(gl.grad(f))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            np.testing.assert_array_equal(gradient(np.full(5, 1e-250), np.full(5, 1e200)), np.inf)


@pytest.mark.parametrize("size", [6, 3000], ids=["tape", "loops"])
def test_what_llvm_refuses_runs_by_single_kernels(size: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One warning names the region; all later calls give its values in silence."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no code today")

    def f(x: Any) -> Any:
        return np.sum(np.arctanh(np.tanh(x * 0.371) * 0.629) ** 3)

    def called(fast: Any, x: Any) -> list[Any]:
        results = [fast(x) for _ in range(3)]
        ahead.wait()  # what is planned for other sizes does not compile either
        return results

    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(native, "compiled", refuse)
    tape.function.cache_clear()
    tape._machine.cache_clear()
    engine._recent.clear()
    x = np.linspace(-2.0, 2.0, size)
    fast = gl.jit(gl.value_and_grad(f))
    try:
        with pytest.warns(RuntimeWarning) as caught:
            results = called(fast, x)
    finally:
        tape.function.cache_clear()
        tape._machine.cache_clear()
    (warning,) = caught
    assert "compiler 'llvm' failed on a region of multiply, tanh, " in str(warning.message)
    assert "arctanh" in str(warning.message)
    assert "no code today" in str(warning.message)
    for value, gradient in results:
        np.testing.assert_allclose(value, f(x), rtol=1e-14)
        np.testing.assert_array_equal(gradient, gl.grad(f)(x))
