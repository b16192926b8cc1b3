"""What runs along one long axis through several kernels runs by blocks of it, with the values and bits that has."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.blocked import _Tree
from gradloom.blocks import BLOCKS
from gradloom.compiler import compiler_for
from gradloom.plan import Plan
from gradloom.program import Program
from gradloom.sharing import kernel_threads
from gradloom.split import SplitError

pytest.importorskip("llvmlite")

#: Rows whose hidden layer makes several blocks, and a rest.
ROWS, FEATURES, HIDDEN = 20_011, 6, 90
Array = np.ndarray[Any, Any]


def arrays(rows: int = ROWS, dtype: str = "float64") -> tuple[Array, ...]:
    rng = np.random.default_rng(0)
    shapes = (FEATURES, HIDDEN), (HIDDEN, 70), (rows, FEATURES), (rows, 70)
    scale = (0.3, 0.1, 1.0, 1.0)
    return tuple([(s * rng.normal(size=shape)).astype(dtype) for s, shape in zip(scale, shapes, strict=True)])


def loss(w: Any, v: Any, x: Any, y: Any) -> Any:
    return np.sum((np.tanh(x @ w) @ v - y) ** 2)


def by_hand(w: Array, v: Array, x: Array, y: Array) -> tuple[Any, Array, Array]:
    """Return the loss and its gradients, by the chain rule."""
    hidden = np.tanh(x @ w)
    error = hidden @ v - y
    return np.sum(error**2), x.T @ ((2.0 * error @ v.T) * (1.0 - hidden**2)), hidden.T @ (2.0 * error)


def planned(function: Callable[..., Any], *values: Any) -> Plan:
    return Program(gl.make_graph(function)(*values), eager=True).plan("numpy")


def blocks(plan: Plan) -> list[Any]:
    return [node for node in plan.graph.nodes if node[0] is BLOCKS]


def flat(found: Any) -> list[Any]:
    value, gradients = found
    return [value, *gradients]


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-12), ("float32", 1e-4)])
def test_a_loss_and_its_gradient_are_those_of_the_chain_rule(dtype: str, bound: float) -> None:
    values = arrays(dtype=dtype)
    gradient = gl.value_and_grad(loss, (0, 1))
    assert len(blocks(planned(gradient, *values))) == 1
    found = gl.jit(gradient)(*values)
    for own, expected in zip(flat(found), by_hand(*[a.astype("float64") for a in values]), strict=True):
        assert own.dtype == dtype
        np.testing.assert_allclose(own, expected, rtol=0, atol=bound * np.max(np.abs(expected)))


@pytest.mark.parametrize("rows", [ROWS, 20_000])
def test_the_bits_are_those_of_any_number_of_threads(rows: int) -> None:
    values = arrays(rows)
    plan = planned(gl.value_and_grad(loss, (0, 1)), *values)
    assert len(blocks(plan)) == 1
    found = []
    for threads in (1, 2, 5):
        token = kernel_threads.set(threads)
        try:
            found.append(plan.run(values))
        finally:
            kernel_threads.reset(token)
    for others in found[1:]:
        assert all(map(np.array_equal, found[0], others))


def test_a_plan_is_shipped_with_its_blocks() -> None:
    values = arrays()
    plan = planned(gl.value_and_grad(loss, (0, 1)), *values)
    copy = pickle.loads(pickle.dumps(plan))
    assert len(blocks(copy)) == 1
    assert all(map(np.array_equal, plan.run(values), copy.run(values)))


def test_what_lies_along_the_axis_is_joined_and_what_is_reduced_combined() -> None:
    w, v, x, _ = arrays()

    def function(w: Any, v: Any, x: Any) -> Any:
        out = np.tanh(x @ w) @ v
        return out[:, 0] * 2.0, np.max(out), np.min(out, 0), np.sum(out, 0), np.any(out > 5.0), w + 1.0

    plan = planned(function, w, v, x)
    assert len(blocks(plan)) == 1
    out = np.tanh(x @ w) @ v
    expected = out[:, 0] * 2.0, np.max(out), np.min(out, 0), np.sum(out, 0), np.any(out > 5.0), w + 1.0
    for own, other in zip(plan.run((w, v, x)), expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-12, atol=1e-9)


def test_an_axis_in_the_middle_is_cut() -> None:
    """The points of a mixture stand behind its components."""
    rng = np.random.default_rng(1)
    means, factors, x = rng.normal(size=(3, 1, 80)), 0.1 * rng.normal(size=(3, 80, 80)), rng.normal(size=(9_001, 80))

    def function(means: Any, factors: Any, x: Any) -> Any:
        return np.sum(np.log(np.sum(np.exp(-np.sum(((x - means) @ factors) ** 2, 2)), 0)))

    gradient = gl.value_and_grad(function, (0, 1))
    assert len(blocks(planned(gradient, means, factors, x))) == 1
    found = flat(gl.jit(gradient)(means, factors, x))
    z = (x - means) @ factors
    terms = np.exp(-np.sum(z**2, 2))
    slope = (-2.0 * (terms / np.sum(terms, 0)))[:, :, None] * z
    of_means = -np.sum(slope @ factors.mT, 1, keepdims=True)
    expected = np.sum(np.log(np.sum(terms, 0))), of_means, (x - means).mT @ slope
    for own, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(own, other, rtol=1e-9, atol=1e-9 * np.max(np.abs(other)))


def test_branches_stay_apart() -> None:
    """What only meets in a scalar can run side by side."""
    w, v, x, y = arrays()
    others = arrays(ROWS + 500)[2:]

    def both(w: Any, v: Any, x: Any, y: Any, more_x: Any, more_y: Any) -> Any:
        return loss(w, v, x, y) + loss(w, v, more_x, more_y)

    plan = planned(gl.value_and_grad(both, (0, 1)), w, v, x, y, *others)
    assert len(blocks(plan)) == 2
    one, other = by_hand(w, v, x, y), by_hand(w, v, *others)
    for own, a, b in zip(plan.run((w, v, x, y, *others)), one, other, strict=True):
        np.testing.assert_allclose(own, a + b, rtol=0, atol=1e-12 * np.max(np.abs(a + b)))


@pytest.mark.parametrize(
    "function",
    [
        lambda w, v, x: np.sum(np.cumsum(np.tanh(x @ w), 0) @ v),
        lambda w, v, x: np.sum((np.tanh(x @ w) / np.sum(np.tanh(x @ w), 0)) @ v),
        lambda w, v, x: np.tanh(x @ w),
        lambda w, v, x: x @ w,
    ],
    ids=["whole axis", "two passes", "nothing passed on", "one product"],
)
def test_nothing_else_runs_by_blocks(function: Callable[..., Any]) -> None:
    w, v, x, _ = arrays()
    assert not blocks(planned(function, w, v, x))


def test_small_arrays_and_large_matrices_do_not_run_by_blocks() -> None:
    """Each block would read the matrices, and add to their gradients."""
    gradient = gl.value_and_grad(loss, (0, 1))
    assert not blocks(planned(gradient, *arrays(500)))
    rng = np.random.default_rng(2)
    large = [rng.normal(size=shape) for shape in ((700, 700), (700, 700), (3_000, 700), (3_000, 700))]
    assert not blocks(planned(gradient, *large))


def test_new_sizes_run_by_blocks_too() -> None:
    gradient = gl.jit(gl.value_and_grad(loss, (0, 1)))
    for rows in (ROWS, 23_000, 24_001, 26_003):
        values = arrays(rows)
        for own, expected in zip(flat(gradient(*values)), by_hand(*values), strict=True):
            np.testing.assert_allclose(own, expected, rtol=0, atol=1e-12 * np.max(np.abs(expected)))


def test_what_has_the_length_of_the_axis_in_it_runs_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> Any:
        raise SplitError("an op has the length of the axis in it")

    values = arrays()
    monkeypatch.setattr("gradloom.blocked.split", refuses)
    found = planned(gl.value_and_grad(loss, (0, 1)), *values).run(values)
    for own, expected in zip(found, by_hand(*values), strict=True):
        np.testing.assert_allclose(own, expected, rtol=0, atol=1e-12 * np.max(np.abs(expected)))


def test_blocks_are_combined_in_one_order_whoever_comes_first() -> None:
    for count in range(1, 7):
        found = set()
        for order in itertools.permutations(range(count)):
            tree = _Tree(count, [lambda a, b: f"({a}{b})"])
            for k in order:
                tree.add(k, [str(k)])
            found.add(tree.total()[0])
        assert len(found) == 1
        assert "".join(filter(str.isdigit, found.pop())) == "".join(map(str, range(count)))


def test_a_graph_without_a_compiler_is_left_as_it_is() -> None:
    values = arrays()
    graph = gl.make_graph(gl.value_and_grad(loss, (0, 1)))(*values)
    assert compiler_for("numpy") is not None
    assert not blocks(Plan(graph, backends.get("numpy")))
