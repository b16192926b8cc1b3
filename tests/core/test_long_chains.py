"""Long chains: deep graphs at a small recursion limit, in time linear in their length."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import textwrap
from typing import Any

import numpy as np
import pytest
from work import steps_of

import gradloom as gl
from gradloom import decision
from gradloom.graph import Graph
from gradloom.program import programs

LENGTHS = (25_000, 50_000, 100_000)


def chain(n: int) -> Any:
    """Return a function of n scalar ops; its derivative at 0.5 is (1 - 1e-6)^n up to the additions."""

    def f(x: Any) -> Any:
        for _ in range(n // 2):
            x = x * 0.999999
            x = x + 0.000001
        return x

    return f


SCRIPT = """
import pickle, sys
import numpy as np
import gradloom as gl
gl.grad(np.sin)(1.0)  # imports and plug-ins are loaded
n = 100_000
sys.setrecursionlimit(200)

def f(x):
    for _ in range(n // 2):
        x = x * 0.999999
        x = x + 0.000001
    return x

"""
STEPS = {
    "value_and_grad": """
        value, gradient = gl.value_and_grad(f)(0.5)
        assert abs(gradient - 0.999999 ** (n // 2)) < 1e-9
        again = gl.value_and_grad(f)(0.25)[1]
        assert again == gradient
    """,
    "graph": """
        graph = gl.make_graph(gl.grad(f))(0.5)
        assert len(graph) >= n // 2
        text = str(graph)
        assert text.count("\\n") >= n // 2
        assert hash(graph) == hash(pickle.loads(pickle.dumps(graph)))
        assert pickle.loads(pickle.dumps(graph)) == graph
        assert len(graph.content_hash()) == 32
        del graph
    """,
    "jvp, vjp and linearize": """
        out, tangent = gl.jvp(f, (0.5,), (1.0,))
        assert abs(tangent - 0.999999 ** (n // 2)) < 1e-9
        assert gl.vjp(f, 0.5)[1](1.0) == (tangent,) or abs(gl.vjp(f, 0.5)[1](1.0)[0] - tangent) < 1e-12
        assert abs(gl.linearize(f, 0.5)[1](1.0) - tangent) < 1e-12
    """,
    "values on demand": """
        def g(x):
            for k in range(n // 2):
                x = x * 0.999999
                if k % 10_000 == 0 and x < 0:
                    break
            return x
        assert abs(gl.grad(g)(0.5) - 0.999999 ** (n // 2)) < 1e-9
    """,
    "second order": """
        n = 20_000
        assert abs(gl.grad(gl.grad(f))(0.5)) == 0.0
    """,
    "jit and vmap": """
        n = 20_000
        assert gl.jit(gl.grad(f))(0.5) == gl.grad(f)(0.5)
        assert np.all(gl.vmap(f)(np.array([0.5, 0.25])) == [f(0.5), f(0.25)])
    """,
    "lazy": """
        x = gl.tensor(0.5)
        y = f(x)
        (value,) = gl.compute(y)
        assert value == f(0.5)
        (g,) = gl.gradients(y, [x])
        assert abs(gl.compute(g)[0] - 0.999999 ** (n // 2)) < 1e-9
        del x, y, g
    """,
}


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_at_a_recursion_limit_of_200(step: str) -> None:
    """100,000 ops, in a process of its own, which must also end cleanly."""
    script = SCRIPT + textwrap.dedent(STEPS[step])
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


OPERATIONS = {
    "make_graph": lambda n: lambda: gl.make_graph(chain(n))(0.5),
    "grad": lambda n: lambda: gl.grad(chain(n))(0.5),
    "jvp": lambda n: lambda: gl.jvp(chain(n), (0.5,), (1.0,)),
    "print": lambda n: (lambda graph: lambda: str(graph))(graph_of(n)),
    "content_hash": lambda n: (lambda graph: lambda: graph.content_hash())(graph_of(n)),
    "pickle": lambda n: (lambda graph: lambda: pickle.dumps(graph))(graph_of(n)),
    "lazy gradients": lambda n: (lambda x: lambda: gl.gradients(chain(n)(x), [x]))(gl.tensor(0.5)),
}


def graph_of(n: int) -> Graph:
    """Return the graph of a chain."""
    graph: Graph = gl.make_graph(chain(n))(0.5)
    return graph


@pytest.mark.parametrize("operation", OPERATIONS)
def test_work_is_linear(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times the length, four times the function calls, but for the decision how to run what is long enough."""
    monkeypatch.setattr(decision, "is_measured", lambda: False)  # how long that is
    with gl.scheduler("serial"):
        OPERATIONS[operation](2000)()  # what is imported and found out once
        programs.clear()
        short, long = [steps_of(OPERATIONS[operation](n)) for n in (500, 2000)]
    programs.clear()
    assert long <= 4.5 * short + 200


@pytest.mark.slow
@pytest.mark.parametrize("operation", ["grad", "free", "hash", "pickle"])
def test_time_is_linear(operation: str) -> None:
    """25,000, 50,000 and 100,000 ops, best of three each, in processor time."""
    import time

    def seconds(n: int) -> float:
        best = np.inf
        for _ in range(3):
            programs.clear()
            graph = graph_of(n)
            gc.collect()
            gc.disable()
            try:
                start = time.process_time()
                if operation == "grad":
                    gl.grad(chain(n))(0.5)
                elif operation == "free":
                    del graph
                elif operation == "hash":
                    graph.content_hash()
                else:
                    pickle.loads(pickle.dumps(graph))
                best = min(best, time.process_time() - start)
            finally:
                gc.enable()
        return best

    times = [seconds(n) for n in LENGTHS]
    programs.clear()
    assert times[-1] <= 10.0 * times[0] + 0.01  # quadratic work would take 16 times as long


def test_wide_sums_are_linear_too() -> None:
    """One input used n times: its cotangents are added up without quadratic work."""

    def wide(n: int) -> Any:
        return lambda: gl.grad(lambda x: sum(x * float(k + 1) for k in range(n)))(0.5)

    short, long = [steps_of(wide(n)) for n in (300, 1200)]
    programs.clear()
    assert long <= 4.5 * short + 200
    assert gl.grad(lambda x: sum(x * float(k) for k in range(1000)))(0.5) == 999 * 500


def test_many_inputs() -> None:
    """A container of 2,000 arrays."""
    p = {f"w{k}": np.full(2, float(k)) for k in range(2000)}
    gradient = gl.grad(lambda p: sum(np.sum(v * v) for v in p.values()))(p)
    assert list(gradient) == list(p)
    np.testing.assert_array_equal(gradient["w1999"], [3998.0, 3998.0])
