"""Merged products: which are, what NumPy gives for them, and that no graph gets a cycle."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from work import steps_of

import gradloom as gl
from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.program import Program
from gradloom.simplify import simplify
from gradloom.simplify.product_sums import JOINED_BYTES, _block_starts

rng = np.random.default_rng(0)


def count(graph: Graph) -> Counter[str]:
    """Return how often each op occurs."""
    return Counter(op.name for op, _, _ in graph.nodes)


def products(graph: Graph) -> int:
    """Return the number of products of matrices."""
    found = count(graph)
    return found["matmul"] + found["annihilating_matmul"]


def rnn(wx: Any, wh: Any, b: Any, xs: Any, h: Any) -> Any:
    """Return the loss of a recurrent network, unrolled."""
    for t in range(len(xs)):
        h = np.tanh(xs[t] @ wx + h @ wh + b)
    return np.sum(h**2)


def rnn_arguments(steps: int, batch: int, size: int, hidden: int, dtype: Any = float) -> list[Any]:
    shapes = [(size, hidden), (hidden, hidden), (hidden,), (steps, batch, size), (batch, hidden)]
    return [(rng.standard_normal(s) / 3).astype(dtype) for s in shapes]


def rnn_gradients(wx: Any, wh: Any, b: Any, xs: Any, h: Any) -> tuple[Any, ...]:
    """Return the loss and its gradients to wx, wh and b, by hand in NumPy, step by step."""
    hs = [h]
    for x in xs:
        hs.append(np.tanh(x @ wx + hs[-1] @ wh + b))
    ct = 2 * hs[-1]
    gwx, gwh, gb = np.zeros_like(wx), np.zeros_like(wh), np.zeros_like(b)
    for x, before, after in zip(xs[::-1], hs[-2::-1], hs[:0:-1], strict=True):
        ct = ct * (1 - after**2)
        gwx, gwh, gb = gwx + x.T @ ct, gwh + before.T @ ct, gb + ct.sum(0)
        ct = ct @ wh.T
    return np.sum(hs[-1] ** 2), gwx, gwh, gb


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_gradient_of_a_recurrent_network(dtype: Any) -> None:
    """The gradients of shared weights are one product each, and one sum."""
    args = rnn_arguments(12, 5, 7, 6, dtype)
    graph = gl.make_graph(gl.value_and_grad(rnn, (0, 1, 2)))(*args)
    simpler = simplify(graph, check=True)
    # One product with wx, twelve with wh and eleven back, and one for each weight.
    assert products(graph) == 12 + 12 + 11 + 24
    assert products(simpler) == 1 + 12 + 11 + 2
    found = count(simpler)
    assert found["sum"] == 2
    assert found["add"] == 24
    assert found["concatenate"] == 2  # the cotangents once, the hidden states once, and xs is there as it is
    tolerance = 1e4 * np.finfo(dtype).eps
    wide = [a.astype(float) for a in args]
    for a, b in zip(Program(simpler).run(args), rnn_gradients(*wide), strict=True):
        assert np.asarray(a).dtype == dtype
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_a_sum_that_has_one_step_more() -> None:
    """From a state of zeros the weights of the state have one term less: what both put together is there once."""
    *weights, xs, h = rnn_arguments(12, 5, 7, 6)

    def from_zeros(wx: Any, wh: Any, b: Any, xs: Any) -> Any:
        return rnn(wx, wh, b, xs, np.zeros_like(xs[0] @ wx))

    graph = gl.make_graph(gl.value_and_grad(from_zeros, (0, 1, 2)))(*weights, xs)
    simpler = simplify(graph, check=True)
    assert count(simpler)["concatenate"] == 2
    assert products(simpler) == 1 + 12 + 11 + 4
    for one, other in zip(
        Program(simpler).run([*weights, xs]), rnn_gradients(*weights, xs, np.zeros_like(h)), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-11)


def test_gradient_to_the_data_too() -> None:
    """Cotangents times one matrix, none of which depends on another, are one product."""
    args = rnn_arguments(6, 2, 40, 40)
    graph = gl.make_graph(gl.grad(rnn, (0, 3)))(*args)
    simpler = simplify(graph, check=True)
    assert products(graph) == 6 + 6 + 5 + 6 + 6
    assert products(simpler) == 1 + 6 + 5 + 1 + 1
    for a, b in zip(Program(simpler).run(args), Program(graph).run(args), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12)


def test_second_order() -> None:
    """Hessian products of a recurrent network."""
    args = rnn_arguments(4, 2, 3, 3)
    v = rng.standard_normal((3, 3))

    def f(w: Any, v: Any, *others: Any) -> Any:
        return gl.hvp(lambda w: rnn(others[0], w, *others[1:]))(w, v)

    values = [args[1], v, args[0], *args[2:]]
    graph = gl.make_graph(f)(*values)
    simpler = simplify(graph, check=True)
    assert products(simpler) < products(graph)
    (a,), (b,) = Program(simpler).run(values), Program(graph).run(values)
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
    step = 1e-6
    slopes = [rnn_gradients(args[0], args[1] + s * v, *args[2:])[2] for s in (step, -step)]
    np.testing.assert_allclose(a, (slopes[0] - slopes[1]) / (2 * step), rtol=1e-6, atol=1e-6)


class TestSums:
    """``A1 @ B1 + A2 @ B2 + ...``."""

    def test_of_plain_products(self) -> None:
        """Those users write; other terms stay as they are."""
        a, b = rng.standard_normal((2, 5, 3, 3))

        def f(a: Any, b: Any) -> Any:
            return a[0] @ b[0] + np.sin(a[1]) + a[2] @ b[2] + (a[3] @ b[3] + b[4])

        graph = simplify(gl.make_graph(f)(a, b), check=True)
        assert products(graph) == 1
        np.testing.assert_allclose(Program(graph).run([a, b])[0], f(a, b), rtol=1e-13, atol=1e-13)

    def test_of_rectangles(self) -> None:
        """Of several lengths along the summed axis, transposed or not."""
        a, b = rng.standard_normal((4, 5)), rng.standard_normal((5, 6))
        c, d = rng.standard_normal((2, 4)), rng.standard_normal((2, 6))

        def f(a: Any, b: Any, c: Any, d: Any) -> Any:
            plain = (a @ b + np.sin(a) @ np.cos(b)) + (np.cos(a)[:, :3] @ b[:3] + np.tanh(a) @ b)
            return plain + ((c.T @ d + np.sin(c).T @ d) + (np.cos(c).T @ d + c[:1].T @ np.sin(d[:1])))

        graph = simplify(gl.make_graph(f)(a, b, c, d), check=True)
        assert products(graph) == 2
        np.testing.assert_allclose(Program(graph).run([a, b, c, d])[0], f(a, b, c, d), rtol=1e-13, atol=1e-13)

    @pytest.mark.parametrize(
        "f",
        [
            lambda a, b: (lambda p: p + p)(a @ b),  # used twice
            lambda a, b: (lambda p: (p + b @ a, p))(a @ b),  # used elsewhere
            lambda a, b: np.sum(a[:2] @ b, axis=0) + b @ a,  # of two shapes
            lambda a, b: a @ b - b @ a,
            lambda a, b: a.astype(int) @ b.astype(int) + b.astype(int) @ a.astype(int),
        ],
    )
    def test_that_stay(self, f: Any) -> None:
        """Nothing is merged that is needed apart, or cannot be put together."""
        a, b = rng.standard_normal((2, 3, 3)) * 3
        graph = gl.make_graph(f)(a, b)
        assert products(simplify(graph, check=True)) == products(graph)

    def test_that_cost_more_together(self) -> None:
        """Long products of narrow matrices: putting them together moves more than is saved."""
        f = lambda a, b: (a.T @ b + np.sin(a).T @ b) + (np.cos(a).T @ b + np.tanh(a).T @ b)  # noqa: E731
        small, large = (gl.make_graph(f)(*np.ones((2, n, 3))) for n in (4, 100_000))
        assert products(simplify(small)) == 1
        assert products(simplify(large)) == 4

    def test_pieces_fit_the_cache(self) -> None:
        """What is put together is bounded."""

        def f(x: Any, w: Any) -> Any:
            total = w
            for _ in range(30):
                x = np.sin(x)
                total = total + x.T @ x
            return total

        x = rng.standard_normal((100, 200))
        graph = simplify(gl.make_graph(f)(x, np.ones((200, 200))))
        assert products(graph) == 2  # of 16 terms at most, 160 kB each, which count as 128
        np.testing.assert_allclose(Program(graph).run([x, np.ones((200, 200))])[0], f(x, 1.0), rtol=1e-12, atol=1e-11)

    def test_blocks_of_sizes_that_differ_little(self) -> None:
        """What is put together begins at the same places, so that one graph serves them; and fits all the same."""
        for size in (4099, 16384, 16385, 20000, 2**21, 2**21 + 1, 2**30, 0, 1):
            starts = [_block_starts(max(size + more, 0), 300) for more in (-size // 50, 0, 1, size // 50)]
            assert len(set(starts)) <= 2
            for first, last in pairwise((*starts[0], 300)):
                assert last == first + 1 or (last - first) * size <= 1.5 * JOINED_BYTES

    def test_zeros_annihilate_as_before(self) -> None:
        """A zero cotangent beside inf or NaN contributes zero, also beside an infinite term."""
        careful = ops["annihilating_matmul"]

        def f(a: Any, b: Any) -> Any:
            total = careful(a[0].T, b[0], zeros=1)
            for t in range(1, 4):
                total = total + careful(a[t].T, b[t], zeros=1)
            return total

        values = np.array([0.0, -0.0, 1.0, -2.0, np.inf, -np.inf, np.nan])
        graph = gl.make_graph(f)(*np.ones((2, 4, 2, 3)))
        simpler = simplify(graph, check=True)
        assert products(simpler) == 1
        for _ in range(300):
            rate = rng.uniform(0, 0.7)
            a, b = np.where(
                rng.random((2, 4, 2, 3)) < rate, rng.choice(values, (2, 4, 2, 3)), rng.integers(-3, 4, (2, 4, 2, 3))
            )
            with np.errstate(all="ignore"):
                terms = np.where(b[:, :, None] == 0, 0, a[..., None] * b[:, :, None])
                expected = terms.sum((0, 1))
                np.testing.assert_array_equal(Program(graph).run([a, b])[0], expected)
                np.testing.assert_array_equal(Program(simpler).run([a, b])[0], expected)


class TestOneMatrix:
    """``x1 @ W``, ``x2 @ W``, ..."""

    def test_rows_of_one_array_are_not_copied(self) -> None:
        """The rows are a reshape of what they are rows of."""
        xs, w = rng.standard_normal((6, 4, 5)), rng.standard_normal((5, 3))
        f = lambda xs, w: tuple([np.sin(x @ w) for x in (xs[t] for t in range(6))])  # noqa: E731
        graph = simplify(gl.make_graph(f)(xs, w), check=True)
        assert products(graph) == 1
        assert count(graph)["concatenate"] == 0
        for a, b in zip(Program(graph).run([xs, w]), f(xs, w), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-13, atol=1e-14)

    @pytest.mark.parametrize(
        "f",
        [
            lambda xs, w: [xs[t] @ w for t in range(20)],
            lambda xs, w: [w @ xs[t] for t in range(20)],
            lambda xs, w: [np.sin(xs[t] * t) @ w for t in range(20)],
            lambda xs, w: [w.T @ np.sin(xs[t]) for t in range(20)],
        ],
    )
    def test_vectors(self, f: Any) -> None:
        """Products of vectors become one of matrices, on either side."""
        xs, w = rng.standard_normal((20, 64)), rng.standard_normal((64, 64))
        graph = gl.make_graph(lambda xs, w: tuple(f(xs, w)))(xs, w)
        simpler = simplify(graph, check=True)
        assert products(simpler) == 1
        for a, b in zip(Program(simpler).run([xs, w]), f(xs, w), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)

    @pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
    def test_careful_products_keep_the_side_of_the_zeros(self) -> None:
        """Zeros of the rows annihilate, those of the matrix do not."""
        careful = ops["annihilating_matmul"]
        f = lambda xs, w: tuple([careful(w, xs[t], zeros=1) for t in range(20)])  # noqa: E731
        xs, w = rng.integers(0, 2, (20, 64)) * 1.0, rng.standard_normal((64, 64))
        w[3, 5] = np.inf
        graph = gl.make_graph(f)(xs, w)
        simpler = simplify(graph, check=True)
        assert products(simpler) == 1
        for a, b in zip(Program(simpler).run([xs, w]), Program(graph).run([xs, w]), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)

    def test_chains_stay(self) -> None:
        """A product of a product with the same matrix waits for that."""

        def f(x: Any, w: Any) -> Any:
            for _ in range(20):
                x = np.tanh(x @ w)
            return x

        graph = gl.make_graph(f)(np.ones(64), np.ones((64, 64)))
        assert products(simplify(graph)) == 20

    def test_no_cycles(self) -> None:
        """Two groups, each with a member behind one of the other, are not both merged."""
        w, v = rng.standard_normal((2, 300, 300)) / 10
        x, y = rng.standard_normal((2, 300))

        def f(x: Any, y: Any, w: Any, v: Any) -> Any:
            a = np.sin(x @ w)
            b = np.sin(y @ v)
            return a @ v, b @ w

        graph = gl.make_graph(f)(x, y, w, v)
        simpler = simplify(graph, check=True)
        assert products(simpler) == 3
        for a, b in zip(Program(simpler).run([x, y, w, v]), f(x, y, w, v), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)

    def test_wide_rows_stay(self) -> None:
        """Copying them would cost more than a call."""
        f = lambda x, w: (np.sin(x) @ w, np.cos(x) @ w)  # noqa: E731
        graph = gl.make_graph(f)(np.ones((10_000, 50)), np.ones((50, 50)))
        assert products(simplify(graph)) == 2


def test_many_groups_are_linear() -> None:
    """Twice as many matrices, each used twice, take twice as many function calls."""

    def graph_of(n: int) -> Any:
        def f(x: Any) -> Any:
            total = x
            for k in range(n):
                w = np.sin(x * k)
                total = total + np.sin(x @ w) + np.cos((x + k) @ w)
            return total

        return gl.make_graph(f)(np.ones((2, 2)))

    graphs = [graph_of(n) for n in (250, 250, 500)]
    _, short, long = [steps_of(lambda graph=graph: simplify(graph)) for graph in graphs]
    assert long <= 2.1 * short


@pytest.mark.parametrize("batch", [4, 9])
def test_rows_of_a_merged_product_are_found_by_no_size(batch: int) -> None:
    """Where all steps have as many samples, the one product is a stack: the part of each is named by its step."""
    graph = simplify(gl.make_graph(rnn)(*rnn_arguments(5, batch, 3, 7)))
    read = [attrs[0] for op, _, attrs in graph.nodes if op.name == "getitem"]
    assert read == [(step, ":", ":") for step in range(5)]
