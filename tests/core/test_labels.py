"""Labels: which axes of a graph run together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.graph import INPUT, LITERAL, Graph
from gradloom.labels import AxisGroups, crossing_nodes, label_axes
from gradloom.spec import Spec


def labels_of(f: Callable[..., Any], *args: Any) -> tuple[list[Any], list[Any]]:
    """Return the labels of a graph's inputs and outputs."""
    graph = gl.make_graph(f)(*args)
    labels = label_axes(graph)
    return [labels[i] for i in graph.inputs], [labels[i] for i in graph.outputs]


def test_elementwise() -> None:
    """Axes that meet have one label, those of length 1 none."""
    inputs, (out,) = labels_of(lambda x, y, z: x * y + z, np.ones((3, 4)), np.ones(4), np.ones((3, 1)))
    (a, b), (c,), (d, nothing) = inputs
    assert (a, b) == out
    assert (c, d, nothing) == (b, a, None)
    assert a != b


def test_views() -> None:
    """Transposed axes keep their labels, new ones have none or a new one; a merged axis has a new one."""
    ((a, b),), outputs = labels_of(
        lambda x: (x.T, x[None], np.broadcast_to(x, (5, 3, 4)), np.reshape(x, -1), np.reshape(x, (3, 1, 4))),
        np.ones((3, 4)),
    )
    transposed, new, broadcast, merged, apart = outputs
    assert transposed == (b, a)
    assert new == (None, a, b)
    assert broadcast[1:] == (a, b)
    assert broadcast[0] not in (a, b, None)
    assert merged[0] not in (a, b, None)
    assert apart == (a, None, b)


def test_reductions_and_products() -> None:
    """What is summed is gone; what a product sums is one label of both factors."""
    ((a, b),), outputs = labels_of(
        lambda x: (np.sum(x, axis=0), np.max(x, axis=1, keepdims=True), np.sum(x)), np.ones((3, 4))
    )
    assert outputs == [(b,), (a, None), ()]
    ((a, b), (c, d)), (out,) = labels_of(lambda x, y: x @ y, np.ones((3, 4)), np.ones((4, 5)))
    assert b == c
    assert out == (a, d)
    assert len({a, b, d}) == 3


def test_what_keeps_no_axis_apart() -> None:
    """A sum along an axis, a product with itself transposed: no false independence."""
    ((a,),), ((b,),) = labels_of(np.cumsum, np.ones(4))
    assert a != b
    ((a, b),), (out,) = labels_of(lambda x: x + x.T, np.ones((4, 4)))
    assert a == b == out[0] == out[1]


def test_samples_have_one_label_through_a_gradient() -> None:
    """The samples of a loss are one loop from the data to the gradient."""

    def loss(w: Any, x: Any, y: Any) -> Any:
        return np.mean(np.logaddexp(0.0, x @ w) - y * (x @ w))

    args = np.ones(5), np.ones((40, 5)), np.ones(40)
    graph = gl.make_graph(gl.value_and_grad(loss))(*args)
    labels = label_axes(graph)
    samples = labels[graph.inputs[2]][0]
    assert labels[graph.inputs[1]] == (samples, labels[graph.inputs[0]][0])
    assert {a for i, own in enumerate(labels) for a in own if graph.specs[i].shape[own.index(a)] == 40} == {samples}


def test_through() -> None:
    """Nodes that are not let through start labels of their own."""
    graph = gl.make_graph(lambda x: np.sin(np.cos(x) * 2.0))(np.ones((3, 4)))
    through = [op is not INPUT and op is not LITERAL and op.name != "multiply" for op, _, _ in graph.nodes]
    labels = label_axes(graph, through)
    by_name = {op.name: own for (op, _, _), own in zip(graph.nodes, labels, strict=True)}
    assert by_name["cos"] == labels[graph.inputs[0]]
    assert by_name["sin"] == by_name["multiply"]
    assert not set(by_name["sin"]) & set(by_name["cos"])


def test_size_zero() -> None:
    """Axes of length 0 have labels as others."""
    ((a, b),), (out,) = labels_of(np.sin, np.ones((0, 4)))
    assert (a, b) == out
    assert a is not None


def test_groups_are_those_of_a_union_find() -> None:
    """Joined in any order, what is connected has one label, the oldest."""
    generator = np.random.default_rng(5)
    for _ in range(20):
        groups = AxisGroups()
        n = 40
        for _ in range(n):
            groups.fresh(Spec((2,), np.float64))
        expected = list(range(n))
        for a, b in generator.integers(n, size=(30, 2)).tolist():
            groups.join(a, b)
            low, high = sorted((expected[a], expected[b]))
            expected = [low if e == high else e for e in expected]
        assert [groups.find(k) for k in range(n)] == expected


def _crossing(f: Any, *shapes: tuple[int, ...]) -> tuple[Graph, list[int]]:
    graph = gl.make_graph(f)(*[np.ones(shape) for shape in shapes])
    return graph, crossing_nodes(graph, [1] * len(graph.nodes), [op.name in VIEWS for op, _, _ in graph.nodes], 20)


VIEWS = frozenset(["reshape", "transpose"])


@pytest.mark.parametrize(
    ("f", "count"),
    [
        (lambda a: a + a.T, 1),
        (lambda a: a.T + a, 1),
        (lambda a: np.exp(a) * (np.sin(a).T + np.cos(a).T), 2),
        (lambda a: (a + a.T) * (a - np.exp(a).T), 2),
        (lambda a: a[0].reshape(1, 5) - a[0].reshape(5, 1), 1),
        (lambda a: np.exp(a).T + 1.0, 0),
        (lambda a: a.T + np.ones((5, 5)), 0),
        (lambda a: np.sum(a.T, axis=0) + np.sum(a, axis=1), 0),
        (lambda a: np.sum(a.T, axis=0) + np.sum(a, axis=0), 1),
        (lambda a: np.sum(a, axis=1) + np.sum(np.exp(a), axis=0), 1),
    ],
)
def test_views_that_cross(f: Any, count: int) -> None:
    graph, found = _crossing(f, (5, 5))
    assert len(found) == count
    assert all([graph.nodes[i][0].name in VIEWS or graph.specs[i].size < 20 for i in found])
    through = [i not in found for i in range(len(graph.nodes))]
    for own in label_axes(graph, through):
        assert len(set(own)) == len(own)


def test_crossing_through_two_values() -> None:
    """Labels that meet in one loop stay apart in all others, wherever the values come from."""
    graph, found = _crossing(lambda a, b: (a + b, np.sin(a).T * b), (5, 5), (5, 5))
    assert [graph.nodes[i][0].name for i in found] == ["transpose"]
