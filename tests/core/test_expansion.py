"""Ops written out as elementwise ones, for compilers: bit for bit what their kernels return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.compiler import compiler_for
from gradloom.expansion import fusible
from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.plan import Plan
from gradloom.program import _prepare
from gradloom.regions import REGION

GAPS = [
    np.array([0.5, 2.0, 1.25]),
    np.array([1.0, 1.0, np.nan, np.inf, np.inf, -np.inf, -0.0, 0.0]),
    np.array([[0.5, 2.0], [1.0, 3.5], [7.0, 7.0]], np.float32),
    np.array([3.0]),
]
VECTORS = [np.array([0.5, -0.0, np.nan, -np.inf]), np.arange(6.0, dtype=np.float32).reshape(2, 3) - 2.0]
MATRICES = [
    np.array([[1.5, np.nan, -0.0], [-0.0, -np.inf, 2.0], [3.0, np.nan, -0.0]]),
    np.arange(18.0, dtype=np.float32).reshape(2, 3, 3) - 7.0,
]
SUBSCRIPTS = {1: "y->yy", 2: "ay->ayy"}
CASES: list[tuple[str, Any, dict[str, Any]]] = [
    *[("inverse_gaps", w, {}) for w in GAPS],
    *[("einsum", x, {"subscripts": SUBSCRIPTS[x.ndim], "annihilates": None}) for x in VECTORS],
    *[("lower_triangle", x, {"diagonal": diagonal}) for x in MATRICES for diagonal in (0.0, 0.5, 1.0)],
]


def recorded(name: str, x: Any, attrs: dict[str, Any]) -> Graph:
    return gl.make_graph(lambda x: ops[name](x, **attrs))(x)


def names(graph: Graph) -> set[str]:
    return {op.name for op, _, _ in graph.nodes}


@pytest.mark.parametrize(("name", "x", "attrs"), CASES, ids=[f"{name}-{x.dtype}-{x.shape}" for name, x, _ in CASES])
def test_an_expansion_has_the_bits_of_the_kernel(name: str, x: Any, attrs: dict[str, Any]) -> None:
    """NaN, infinities and the signs of zeros too, and only elementwise ops and views are left."""
    graph = recorded(name, x, attrs)
    kernel, keywords = backends.get("numpy").kernel(ops[name], ops[name].attr_values(attrs))
    with np.errstate(all="ignore"):
        wanted = kernel(x, **keywords)
    written = fusible(graph)
    assert name in names(graph)
    assert all([op.elementwise or op.view or not inputs for op, inputs, _ in written.nodes])
    with np.errstate(all="ignore"):
        (got,) = Plan(written, backends.get("numpy")).run([x])
    assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(got, wanted)
    number = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(wanted[number]))


def test_no_gap_of_different_eigenvalues_divides_by_zero() -> None:
    """Kernels one after the other would warn of it where a region does not compile."""
    graph = fusible(recorded("inverse_gaps", GAPS[0], {}))
    with np.errstate(all="raise"):
        Plan(graph, backends.get("numpy")).run([GAPS[0]])


@pytest.mark.parametrize(
    ("name", "x", "attrs"),
    [
        ("inverse_gaps", np.array([1j, 2.0]), {}),
        ("lower_triangle", np.ones((2, 2)) * 1j, {"diagonal": 1.0}),
        ("einsum", np.ones((2, 2)), {"subscripts": "ab->ba", "annihilates": None}),
        ("einsum", np.ones((2, 3)), {"subscripts": "ya->yya", "annihilates": None}),
    ],
)
def test_the_rest_stays(name: str, x: Any, attrs: dict[str, Any]) -> None:
    assert name in names(fusible(recorded(name, x, attrs)))


def test_nodes_keep_the_line_of_what_they_stand_for() -> None:
    """Also where the op is the gradient of another."""
    graph = gl.make_graph(gl.grad(lambda a: np.sum(np.linalg.eigh(a)[1] ** 3)))(np.diag([1.0, 2.0, 4.0]))
    gaps = next(i for i, (op, _, _) in enumerate(graph.nodes) if op.name == "inverse_gaps")
    source = graph.sources[gaps]
    assert source is not None
    written = fusible(graph)
    found = next(i for i, (op, _, _) in enumerate(written.nodes) if op.name == "reciprocal")
    moved = written.sources[found]
    assert moved is not None
    assert moved[:2] == source[:2]
    assert written.nodes[moved[2]][0] is graph.nodes[source[2]][0]


FUNCTIONS: list[Callable[..., Any]] = [
    lambda a: np.sum(np.tanh(np.linalg.eigh(a + a.T)[1]) ** 3),
    lambda a: np.sum(np.linalg.cholesky(a @ a.T) ** 3),
    lambda a: np.sum(np.linalg.qr(a)[1] ** 3),
]


@pytest.mark.parametrize("f", FUNCTIONS, ids=["eigh", "cholesky", "qr"])
def test_compiled_gradients_of_decompositions_agree_with_plain_ones(f: Callable[..., Any]) -> None:
    a = np.random.default_rng(0).normal(size=(40, 40)) + 8.0 * np.eye(40)
    wanted = gl.grad(f)(a)
    np.testing.assert_allclose(gl.jit(gl.grad(f))(a), wanted, rtol=1e-7, atol=1e-9 * np.abs(wanted).max())


def test_branches_stay_apart() -> None:
    """Each region counts rows and columns itself: no mask is made first, for which all branches would wait."""

    def f(*matrices: Any) -> Any:
        return sum([np.sum(np.linalg.eigh(a + a.T)[1] ** 3) for a in matrices])

    a = np.ones((100, 100))
    graph = _prepare(gl.make_graph(gl.grad(f, argnums=(0, 1)))(a, a), "numpy", compiler_for("numpy"))
    needed: list[set[int]] = []
    for i, (_, inputs, _) in enumerate(graph.nodes):
        needed.append(set(inputs).intersection(graph.inputs).union(*[needed[j] for j in inputs]))
        if graph.nodes[i][0] is REGION:
            assert needed[i]
    first, second = [needed[i] for i in graph.outputs]
    assert first.isdisjoint(second)
