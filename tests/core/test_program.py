"""Programs: what is cached, when literals are lifted, and which backend runs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import BackendError
from gradloom.expansion import inline
from gradloom.graph import Graph
from gradloom.op import get_op
from gradloom.program import Program, ProgramCache, choose_backend, lift_literals
from gradloom.tensor import Tensor
from gradloom.trace import Trace

X = np.array([0.5, -1.25, 2.0])


class Finder:
    """A cache of its own, that counts what it builds."""

    def __init__(self) -> None:
        self.cache = ProgramCache()
        self.built: list[Graph] = []

    def run(self, f: Any, *args: Any, what: Any = "test") -> Any:
        """Trace a function, find its program, run it."""
        trace = Trace(Tensor)
        specs = gl.make_graph(lambda *a: a)(*args).input_specs()
        tensors = [trace.add_input(s, a) for s, a in zip(specs, args, strict=True)]
        out = f(*tensors)

        def build(graph: Graph) -> Program:
            self.built.append(graph)
            return Program(graph)

        program, values = self.cache.find(trace, what, (out._index,), build)
        trace.end()
        return program.run(values)[0]


def test_same_structure_is_built_once() -> None:
    """Values of inputs do not count."""
    finder = Finder()
    for x in (X, X + 1, X * 0):
        np.testing.assert_array_equal(finder.run(lambda x: np.sin(x) * 2.0, x), np.sin(x) * 2.0)
    assert len(finder.built) == 1
    finder.run(lambda x: np.sin(x) * 2.0, X[:2])
    finder.run(lambda x: np.sin(x) * 2.0, X, what="other")
    finder.run(lambda x: 2.0 * np.sin(x), X)
    assert len(finder.built) == 4


def test_changing_literals_are_lifted() -> None:
    """A literal that was seen to change becomes an input; those that stay, stay."""
    finder = Finder()
    for s in np.linspace(0.1, 5.0, 50).tolist():
        np.testing.assert_array_equal(finder.run(lambda x, s=s: x * s + 0.25, X), X * s + 0.25)
    assert [len(g.inputs) for g in finder.built] == [1, 2]
    for t in (1.0, 2.0, 3.0):
        np.testing.assert_array_equal(finder.run(lambda x, t=t: x * 0.1 + t, X), X * 0.1 + t)
    assert [len(g.inputs) for g in finder.built] == [1, 2, 3]
    np.testing.assert_array_equal(finder.run(lambda x: x * 7.0 + 9.0, X), X * 7.0 + 9.0)
    assert len(finder.built) == 3


def test_literals_equal_by_accident_share_a_slot_or_not() -> None:
    """x * a + b with a == b is another structure than with a != b; both are right, in any order."""
    finder = Finder()
    for a, b in [(2.0, 3.0), (2.0, 2.0), (3.0, 3.0), (3.0, 2.0), (0.0, -0.0), (-0.0, 0.0), (2.0, 3.0)]:
        found = finder.run(lambda x, a=a, b=b: np.copysign(x * a, b) + b, X)
        np.testing.assert_array_equal(np.copysign(1, found), np.copysign(1, np.copysign(X * a, b) + b))
        np.testing.assert_array_equal(found, np.copysign(X * a, b) + b)


def test_lift_literals() -> None:
    """Lifted literals come after the inputs, in the order of the slots."""
    graph = gl.make_graph(lambda x: (x * 2.0 + 3.0) ** 4.0)(X)
    lifted = lift_literals(graph, (0, 1))
    assert len(lifted.inputs) == 3
    np.testing.assert_array_equal(Program(lifted).run([X, 5.0, 7.0])[0], (X * 5.0 + 7.0) ** 4.0)
    assert Program(graph).run([X])[0][0] == (X[0] * 2 + 3) ** 4


def test_inline_records_the_same_nodes() -> None:
    """Calling a graph in another trace gives the values, with Python scalars as literals."""
    inner = gl.make_graph(lambda x, s: np.sin(x) * s)(X, 2.0)

    def f(x: Any) -> Any:
        (out,) = inline(x._trace, inner, [x, 3.0])
        return np.sum(out)

    assert gl.value_and_grad(f)(X)[0] == np.sum(np.sin(X) * 3.0)
    np.testing.assert_allclose(gl.grad(f)(X), 3 * np.cos(X), rtol=1e-15)


def test_choose_backend() -> None:
    """Numbers go with any; unknown kinds with none."""
    assert choose_backend([]) == "numpy"
    assert choose_backend([1.0, X, np.float64(1.0), True]) == "numpy"
    with gl.backend("numpy"):
        assert choose_backend([object()]) == "numpy"


def test_unavailable_backend_says_why() -> None:
    """Asked for by name, CuPy explains what it misses; nothing else is disturbed."""
    from gradloom.backend import backends

    reason = backends.get("cupy").unavailable()
    if reason is None:
        np.testing.assert_allclose(gl.jit(np.sin, backend="cupy")(X).get(), np.sin(X))
    else:
        with pytest.raises(BackendError, match="backend 'cupy' cannot run here"), gl.backend("cupy"):
            pass
    np.testing.assert_array_equal(gl.jit(np.sin)(X), np.sin(X))


def test_programs_of_several_transforms_do_not_mix() -> None:
    """The same trace under grad, vjp, jvp, linearize, vmap and jacobian."""
    f = lambda x: np.sum(np.sin(x) * 2.0)  # noqa: E731
    for _ in range(2):
        np.testing.assert_allclose(gl.grad(f)(X), 2 * np.cos(X), rtol=1e-15)
        np.testing.assert_allclose(gl.elementwise_grad(f)(X), 2 * np.cos(X), rtol=1e-15)
        np.testing.assert_allclose(gl.vjp(f, X)[1](2.0)[0], 4 * np.cos(X), rtol=1e-15)
        np.testing.assert_allclose(gl.jvp(f, (X,), (X,))[1], np.sum(2 * np.cos(X) * X), rtol=1e-15)
        np.testing.assert_allclose(gl.linearize(f, X)[1](X), np.sum(2 * np.cos(X) * X), rtol=1e-15)
        for mode in ("rev", "fwd", None):
            np.testing.assert_allclose(gl.jacobian(f, mode=mode)(X), 2 * np.cos(X), rtol=1e-15)
        np.testing.assert_allclose(gl.vmap(f)(np.stack([X, X])), [f(X)] * 2, rtol=1e-15)
        np.testing.assert_allclose(gl.vmap(f, in_axes=1)(np.stack([X, X], 1)), [f(X)] * 2, rtol=1e-15)


def test_nodes_that_no_output_needs_do_not_run() -> None:
    """Dead code is traced but not run, even if it would fail."""
    calls = []

    def f(x: Any) -> Any:
        np.linalg.inv(x[None, None] * 0.0)
        calls.append(get_op("sin").name)
        return np.sin(x)

    assert gl.grad(f)(0.0) == 1.0
    assert calls == ["sin"]
