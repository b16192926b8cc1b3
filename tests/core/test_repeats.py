"""Repeats: a graph is the same whether rules are called for each node or what they appended is appended again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.autodiff import gradient_graph
from gradloom.graph import Graph
from gradloom.op import Op
from gradloom.repeats import Repeats
from gradloom.spec import Spec
from gradloom.tensor import Tensor

#: Steps of a loop: (state, input, matrix) -> state.
STEPS: list[Callable[[Any, Any, Any], Any]] = [
    lambda h, x, w: np.tanh(h @ w + x),
    lambda h, x, w: h * h + x,
    lambda h, x, w: h * x * 0.5,
    lambda h, x, w: h * x * 1.5,
    lambda h, x, w: x - h**2 / 3.0,
    lambda h, x, w: h - x**3,
    lambda h, x, w: np.where(h > 0.0, h, x * 0.1),
    lambda h, x, w: np.maximum(h, x) + 1.0,
    lambda h, x, w: h / np.sum(np.exp(h), axis=-1, keepdims=True),
    lambda h, x, w: np.concatenate([h[:1], x[1:]]) * w[0],
    lambda h, x, w: np.cumsum(h, axis=0) + np.sort(x, axis=0),
    lambda h, x, w: h + np.prod(x, axis=0) + np.linalg.norm(h),
    lambda h, x, w: h.reshape(-1).reshape(h.shape) * np.mean(x) - np.max(w),
    lambda h, x, w: h + np.linalg.inv(w @ w.T + 3.0 * np.eye(len(w)))[0],
]


def loop_graph(codes: list[int], rows: int, columns: int) -> Graph:
    """Return the graph of a loss that runs steps one after the other, some of them several times."""
    x, w = np.ones((rows, columns)), np.ones((columns, columns))

    def loss(x: Any, w: Any) -> Any:
        h = x
        for code in codes:
            h = STEPS[code](h, x, w)
        return np.sum(h)

    return gl.make_graph(loss)(x, w)


def gradient(graph: Graph) -> Graph:
    """Return its gradient, made from nothing."""
    return gradient_graph(graph, graph.outputs, graph.inputs, Tensor)


def by_rules(self: Repeats, key: Any, arguments: Any, rule: Callable[[], Any]) -> Any:
    """Call the rule each time."""
    return rule()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, len(STEPS) - 1), min_size=2, max_size=7),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_gradients_are_those_of_the_rules(codes: list[int], rows: int, columns: int) -> None:
    """Nodes, specs, sources and literals, for steps that recur, with sizes 1 and equal sizes among others."""
    graph = loop_graph(codes * 3, rows, columns)
    found = gradient(graph)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Repeats, "tensor", by_rules)
        expected = gradient(graph)
    assert found == expected
    assert found.specs == expected.specs
    assert found.sources == expected.sources


def test_each_rule_is_called_twice_for_all_steps() -> None:
    """However many there are."""
    calls = []

    def partial(out: Any, x: Any) -> Any:
        calls.append(x.spec)
        return out * 2.0

    def spec(x: Spec) -> Spec:
        return x

    op = Op("counted", spec=spec, partials=(partial,), elementwise=True)

    def loss(x: Any) -> Any:
        for _ in range(20):
            x = op(x) + 1.0
        return np.sum(x)

    gradient(gl.make_graph(loss)(np.ones(3)))
    assert calls == [Spec((3,), "float64")] * 2


def test_what_a_rule_closes_over_stays_its_own() -> None:
    """A rule that takes an array from elsewhere is called each time."""
    weights = iter(np.arange(1.0, 9.0))

    def partial(out: Any, x: Any) -> Any:
        return x * np.array([next(weights)] * 2)

    def spec(x: Spec) -> Spec:
        return x

    op = Op("weighted", spec=spec, partials=(partial,), elementwise=True)
    gradient(gl.make_graph(lambda x: np.sum(op(op(op(x)))))(np.ones(2)))
    assert next(weights) == 4.0


def test_what_looks_where_a_value_comes_from_is_not_repeated() -> None:
    """A system is triangular for a Cholesky factor, and not for another matrix of its spec."""

    def f(a: Any, b: Any) -> Any:
        trace = a._trace
        repeats = Repeats(trace)
        factor = np.linalg.cholesky(a)
        found = []
        for matrix in (factor, factor, factor, a):
            nodes = (matrix._index, b._index)
            found.append(repeats.tensor("solve", nodes, lambda matrix=matrix: np.linalg.solve(matrix, b)))
        return tuple(found)

    graph = gl.make_graph(f)(np.eye(3), np.ones((3, 2)))
    assert [graph.nodes[i][0].name for i in graph.outputs] == ["solve_triangular"] * 3 + ["solve"]
