"""What a first call does without: counted, since times are not for tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite.utils import get_library_name

import gradloom as gl
from gradloom import program
from gradloom.arrangement import arrange
from gradloom.graph import Graph
from gradloom.program import Program
from gradloom.regions import REGION
from gradloom_llvm import native, tiers
from gradloom_llvm.codegen import generate
from gradloom_llvm.compiler import LLVMCompiler
from gradloom_llvm.engine import host_vector_bytes
from gradloom_llvm.loops import Loops
from gradloom_llvm.tape import BASIC, _machine

FIRST_CALLS = {
    "loops": "gl.jit(gl.grad(lambda x: np.log(np.sum(np.exp(x)))))(np.ones(100))",
    "tape": "gl.jit(gl.grad(lambda x: np.sum(x * x)))(np.ones(3))",
    "product": "gl.jit(gl.grad(lambda x: np.sum(np.tanh(x @ x))))(np.ones((90, 90)))",
}


@pytest.mark.parametrize("call", FIRST_CALLS.values(), ids=FIRST_CALLS)
def test_its_imports_make_no_named_tuples(call: str) -> None:
    """Python takes ten times as long to make one as a plain class."""
    code = f"""
import sys, numpy as np, gradloom as gl
before = set(sys.modules)
{call}
for name in sys.modules.keys() - before:
    for thing in vars(sys.modules[name]).values() if name.startswith("gradloom") else ():
        if isinstance(thing, type) and thing.__module__ == name and issubclass(thing, tuple):
            print(thing)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def logsumexp_graph() -> Graph:
    """Return a region with loops over vectors, sums of their lanes, and values of one element."""
    return gl.make_graph(lambda x: np.log(np.sum(np.exp(x - np.max(x)))))(np.ones(100)).without_sources()


def test_single_values_are_no_vectors() -> None:
    """LLVM splits vectors of one lane into scalars, which takes longer than to write scalars."""
    text = generate(Loops(logsumexp_graph()), host_vector_bytes()).text
    assert "gl.log.f64x1" in text
    assert "<1 x" not in text


def test_the_tape_has_no_vectors() -> None:
    assert "<1 x" not in _machine.__wrapped__(BASIC)._ir


def test_plugins_show_pluggy_their_hooks_alone() -> None:
    """It looks at each name of a plugin, for longer than the plugin takes to import."""
    import gradloom_cupy
    import gradloom_dask
    import gradloom_llvm
    import gradloom_numpy
    from gradloom import hookspecs

    for module in (gradloom_cupy, gradloom_dask, gradloom_llvm, gradloom_numpy, hookspecs):
        assert all([name.startswith("gradloom_") for name in dir(module)]), module


def test_llvm_is_waited_for_when_all_that_needs_none_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long to start as a graph to be traced, simplified and cut into regions."""
    order: list[str] = []
    unavailable = LLVMCompiler.unavailable
    monkeypatch.setattr(LLVMCompiler, "unavailable", lambda self: order.append("waited") or unavailable(self))
    monkeypatch.setattr(program, "arrange", lambda *args: order.append("arranged") or arrange(*args))
    program._PREPARED.clear()
    gl.jit(gl.grad(lambda x: np.sum(np.exp(x) * x)))(np.ones(1000))
    assert order == ["arranged", "waited"]


def test_what_cannot_start_after_all_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LLVMCompiler, "unavailable", lambda self: "it does not start")
    program._PREPARED.clear()
    x = np.linspace(0.0, 1.0, 1000)
    prepared = Program(gl.make_graph(lambda x: np.sum(np.exp(x) * x))(x), eager=True)
    plan = prepared.plan("numpy")
    assert plan.compiler is None
    assert not any([op is REGION for op, _, _ in plan.graph.nodes])
    np.testing.assert_allclose(prepared.run([x])[0], np.sum(np.exp(x) * x))


def test_the_library_is_known_by_its_name() -> None:
    """Looked up in llvmlite, it would be imported by a thread that must not wait for others."""
    assert native.library_name() == get_library_name()


def test_quick_code_has_each_function_once(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    """Inlined, it would be compiled in each loop, and again for the rest of the loop."""
    asked: list[str] = []
    begin = tiers.begin
    monkeypatch.setattr(tiers, "begin", lambda ir, **how: asked.append(ir) or begin(ir, **how))
    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 1e-12)
    text = generate(Loops(logsumexp_graph()), host_vector_bytes()).text + "; no other test's\n"
    assert "alwaysinline" in text
    tiers.Code(text).library()
    assert [ir.count("alwaysinline") for ir in asked] == [0]
