"""What a first call does without: counted, since times are not for tests."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import gradloom as gl
from gradloom.graph import Graph
from gradloom_llvm.codegen import generate
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
