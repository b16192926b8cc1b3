"""The order of a plan's steps: each after what it reads, and few bytes alive at a time."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradloom as gl
from gradloom.graph import ITEM, Graph, live_nodes
from gradloom.order import economical_order


def running(graph: Graph) -> list[int]:
    """Return the nodes of a graph that run, as recorded."""
    live = live_nodes(graph.nodes, graph.outputs)
    return [i for i, (op, inputs, _) in enumerate(graph.nodes) if live[i] and inputs]


def most_alive(graph: Graph, order: list[int]) -> int:
    """Return the bytes of values alive at once at most, inputs not counted; a view keeps alive what it is of."""
    owner = {i: i for i in range(len(graph.nodes))}
    for i in sorted(order):
        if graph.nodes[i][0].view:
            owner[i] = owner[graph.nodes[i][1][0]]
    reads = {i: {owner[j] for j in graph.nodes[i][1]} for i in order}
    last = {j: i for i in order for j in reads[i]}
    kept = {owner[i] for i in graph.outputs}
    alive = most = 0
    for i in order:
        alive += size(graph, i) if owner[i] == i else 0
        most = max(most, alive)
        alive -= sum(size(graph, j) for j in reads[i] if last[j] == i and j in reads and j not in kept)
    return most


def size(graph: Graph, i: int) -> int:
    spec = graph.specs[i]
    return 0 if type(spec) is tuple else spec.nbytes


def reordered(graph: Graph) -> list[int]:
    return economical_order(graph, running(graph), set(graph.outputs))


def is_topological(graph: Graph, order: list[int]) -> bool:
    place = {i: k for k, i in enumerate(order)}
    return all(place.get(j, -1) < place[i] for i in order for j in graph.nodes[i][1])


def towers(count: int) -> Any:
    """Return value and gradient of a sum of layers that share nothing."""

    def loss(*weights: Any) -> Any:
        total = 0.0
        for w in weights:
            y = w
            for _ in range(4):
                y = np.tanh(y @ w)
            total = total + np.sum(y)
        return total

    graph: Graph = gl.make_graph(gl.grad(loss, argnums=tuple(range(count))))(*[np.ones((20, 20))] * count)
    return graph


def test_a_branch_ends_before_the_next_begins() -> None:
    """What is alive beside the results is what one branch needs, however many there are."""
    beside = {}
    for count in (1, 2, 8):
        graph = towers(count)
        order = reordered(graph)
        assert is_topological(graph, order)
        assert sorted(order) == running(graph)
        beside[count] = most_alive(graph, order) - count * 20 * 20 * 8
    assert beside[8] <= beside[1] + 20 * 20 * 8
    assert beside[2] <= beside[1] + 20 * 20 * 8


def test_gradients_of_weights_run_as_soon_as_they_can() -> None:
    """They are results, whose memory is needed in any case, and free what they read."""

    def loss(weights: Any, x: Any) -> Any:
        for w in weights:
            x = np.tanh(x @ w)
        return np.sum(x)

    graph = gl.make_graph(gl.grad(loss))([np.ones((4, 4))] * 12, np.ones((300, 4)))
    layer = 300 * 4 * 8
    late = sorted(running(graph), key=lambda i: (i in graph.outputs, i))
    assert is_topological(graph, late)
    # Twelve layers, the cotangents of two, and what a step makes meanwhile.
    assert most_alive(graph, economical_order(graph, late, set(graph.outputs))) <= 16 * layer
    assert most_alive(graph, late) > 20 * layer


def test_views_and_items_hold_the_memory_of_what_they_are_of() -> None:
    def f(x: Any) -> Any:
        pieces = []
        for k in range(6):
            values, vectors = np.linalg.eigh(x * (k + 1.0))
            pieces.append(np.sum(vectors.T @ vectors) + np.sum(values))
        return sum(pieces)

    graph = gl.make_graph(f)(np.eye(10))
    assert any(op is ITEM for op, _, _ in graph.nodes)
    order = reordered(graph)
    assert is_topological(graph, order)
    assert most_alive(graph, order) <= 4 * 800


@given(seed=st.integers(0, 10_000), count=st.integers(1, 60))
def test_any_graph(seed: int, count: int) -> None:
    """All nodes run, once, after what they read, always in the same order."""
    choose = random.Random(seed)

    def f(x: Any, y: Any) -> Any:
        values = [x, y]
        for _ in range(count):
            a, b = choose.choice(values), choose.choice(values)
            values.append(choose.choice([np.add(a, b), np.sum(a) + b, a.T, np.sin(a)]))
        return tuple(values[-3:])

    graph = gl.make_graph(f)(np.ones((3, 3)), np.ones((3, 3)))
    order = reordered(graph)
    assert is_topological(graph, order)
    assert sorted(order) == running(graph)
    assert order == reordered(graph)


@pytest.mark.parametrize("scheduler", ["serial", "threads"])
def test_plans_run_in_it(scheduler: str) -> None:
    """A compiled plan drops what it can early; its results are those of NumPy."""

    def loss(x: Any, w: Any) -> Any:
        return sum([np.sum(np.tanh(x @ w * k)) for k in range(1, 6)])

    x, w = np.linspace(-1.0, 1.0, 12).reshape(4, 3), np.linspace(0.1, 0.7, 6).reshape(3, 2)
    with gl.scheduler(scheduler):
        found = gl.jit(gl.grad(loss))(x, w)
    want = sum([(k / np.cosh(x @ w * k) ** 2) @ w.T for k in range(1, 6)])
    np.testing.assert_allclose(found, want, rtol=1e-12)
