"""Placement: ops run where `gl.device` says, gradients where their values were, with the same bits."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from typing import Any

import boards
import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.compiler import compiler_for
from gradloom.errors import BackendError, DeviceError
from gradloom.graph import Graph
from gradloom.placement import TO_DEVICE, node_places
from gradloom.plan import Plan
from gradloom.settle import settle
from gradloom.testing.backends import BackendConformance, assert_same_bits


@pytest.fixture(autouse=True)
def _boards() -> Iterator[None]:
    with boards.installed():
        boards.RAN.clear()
        yield


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


X, W, V = rng().normal(size=(5, 4)), rng().normal(size=(4, 3)), rng().normal(size=(4, 3)) + 1.0


def two_branches(first: str | None, second: str | None) -> Callable[..., Any]:
    """Return a loss whose branches run in two places."""

    def loss(x: Any, w: Any, v: Any) -> Any:
        with gl.device(first):
            a = np.tanh(x @ w) * 2.0
        with gl.device(second):
            b = np.exp(x @ v)
            b = b / np.sum(b, axis=1, keepdims=True)
        return np.sum(a * b)

    return loss


def boards_of(*ops: str) -> dict[str, set[int]]:
    """Return the boards that some ops ran on."""
    return {op: {board for name, board in boards.RAN if name == op} for op in ops}


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "grad": lambda f: gl.value_and_grad(f, argnums=(0, 1, 2)),
    "jit": lambda f: gl.jit(gl.value_and_grad(f, argnums=(0, 1, 2))),
    "inner jit": lambda f: gl.value_and_grad(gl.jit(f), argnums=(0, 1, 2)),
    "jvp": lambda f: lambda x, w, v: gl.jvp(f, (x, w, v), (x, w, v)),
    "vjp": lambda f: lambda x, w, v: gl.vjp(f, x, w, v)[1](np.float64(2.0)),
    "linearize": lambda f: lambda x, w, v: gl.linearize(f, x, w, v)[1](x, w, v),
    "hvp": lambda f: lambda x, w, v: gl.hvp(lambda w: f(x, w, w))(w, v),
    "hessian": lambda f: lambda x, w, v: gl.jit(gl.hessian(lambda w: f(x, w, w)))(w),
    "vmap": lambda f: lambda x, w, v: gl.vmap(gl.grad(lambda r: f(r[None], w, v)))(x),
    "nested": lambda f: lambda x, w, v: gl.grad(lambda x: np.sum(gl.grad(f, argnums=1)(x, w, v) ** 2))(x),
}


def leaves(tree: Any) -> list[Any]:
    return [leaf for part in tree for leaf in leaves(part)] if isinstance(tree, (tuple, list)) else [tree]


@pytest.mark.parametrize("transform", TRANSFORMS)
def test_same_bits_wherever_it_runs(transform: str) -> None:
    """Three calls: the first is interpreted, the second compiled, and later ones may follow an earlier trace."""
    expected = leaves(TRANSFORMS[transform](two_branches(None, None))(X, W, V))
    f = TRANSFORMS[transform](two_branches("boards:1", "boards:2"))
    for _ in range(3):
        for got, want in zip(leaves(f(X, W, V)), expected, strict=True):
            # Compiled kernels of NumPy arrays keep within a bound; those of other devices have NumPy's bits.
            np.testing.assert_allclose(got, want, rtol=1e-13)
            assert type(got) in (np.ndarray, np.float64)
    assert boards_of("tanh", "exp") == {"tanh": {1}, "exp": {2}}
    assert {board for _, board in boards.RAN} == {1, 2}


def test_the_gradient_is_computed_where_the_value_was() -> None:
    """Without a compiler, bits are those of a run at home."""
    expected = gl.value_and_grad(two_branches(None, None), argnums=(1, 2))(X, W, V)
    got = gl.value_and_grad(two_branches("boards:1", "boards:2"), argnums=(1, 2))(X, W, V)
    for one, other in zip(leaves(got), leaves(expected), strict=True):
        assert_same_bits(np.asarray(one), np.asarray(other))
    graph = gl.make_graph(gl.grad(two_branches("boards:1", "boards:2"), argnums=(1, 2)))(X, W, V)
    places = node_places(graph)
    assert places is not None
    for i, source in enumerate(graph.sources):
        if source is not None and source[2] >= 0 and graph.nodes[i][0] is not TO_DEVICE:
            assert places[i] in (places[source[2]], "anywhere")
    assert [places[i] for i in (*graph.inputs, *graph.outputs)] == [None] * 5


def test_arrays_of_the_device_go_in_and_out() -> None:
    """At home on board 0, with a branch on board 2."""
    x, w, v = [boards.Array(value, 0) for value in (X, W, V)]
    got = gl.jit(gl.grad(two_branches(None, "boards:2"), argnums=(1, 2)))(x, w, v)
    expected = gl.grad(two_branches(None, None), argnums=(1, 2))(X, W, V)
    for one, other in zip(got, expected, strict=True):
        assert one.board == 0
        np.testing.assert_allclose(one.host, other, rtol=1e-13)
    assert boards_of("tanh", "exp") == {"tanh": {0}, "exp": {2}}


def test_a_block_around_a_call() -> None:
    """What is traced inside a block runs there; a jitted function has a trace for each place."""
    f = gl.jit(gl.grad(lambda x: np.sum(np.sin(x) ** 3)))
    expected = gl.grad(lambda x: np.sum(np.sin(x) ** 3))(X)
    for place in ("boards:1", None, "boards:2", "boards:1", None):
        boards.RAN.clear()
        for _ in range(2):
            with gl.device(place):
                np.testing.assert_allclose(f(X), expected, rtol=1e-13)
        assert {board for _, board in boards.RAN} == ({int(place[-1])} if place else set())
    with gl.device("boards:1"):
        gradient = gl.grad(lambda x: np.sum(np.sin(x) ** 3))(X)
    assert_same_bits(gradient, expected)


def test_blocks_nest() -> None:
    def f(x: Any) -> Any:
        with gl.device("boards:1"):
            y = np.sin(x)
            with gl.device(None):
                z = np.cos(y)
            with gl.device("boards"):
                z = np.exp(z)
            return np.tanh(z)

    np.testing.assert_allclose(gl.jit(f)(0.5), np.tanh(np.exp(np.cos(np.sin(0.5)))), rtol=1e-14)
    assert boards_of("sin", "cos", "exp", "tanh") == {"sin": {1}, "cos": set(), "exp": {0}, "tanh": {1}}
    with pytest.raises(ZeroDivisionError), gl.device("boards:1"):
        raise ZeroDivisionError
    boards.RAN.clear()
    gl.grad(np.sin)(0.5)
    assert not boards.RAN


def test_control_flow_on_values() -> None:
    """A value that is asked for is computed where its trace says."""

    def f(x: Any) -> Any:
        with gl.device("boards:1"):
            y = np.sum(x**2)
            while y < 100.0:
                y = y * 2.0
        return y if y > 0 else -y

    assert_same_bits(gl.grad(f)(np.array([1.0, 2.0])), np.array([64.0, 128.0]))
    assert {board for _, board in boards.RAN} == {1}


def test_own_pullbacks() -> None:
    @gl.custom_gradient
    def doubled(x: Any) -> Any:
        y = np.exp(x)
        return y, lambda g: 2.0 * g * y

    def f(x: Any) -> Any:
        with gl.device("boards:1"):
            return np.sum(doubled(np.sin(x)))

    x = np.array([0.3, 0.7])
    for transformed in (gl.grad(f), gl.jit(gl.grad(f))):
        np.testing.assert_allclose(transformed(x), 2 * np.exp(np.sin(x)) * np.cos(x), rtol=1e-14)
    assert boards_of("exp", "sin") == {"exp": {1}, "sin": {1}}


def test_what_holds_a_graph_runs_where_its_graph_needs() -> None:
    """Here a function with an own pullback, before it is inlined; a loop stays as it is."""

    def within(*names: str) -> Graph:
        @gl.custom_gradient
        def inner(x: Any) -> Any:
            y = x
            for name in names:
                with gl.device(name):
                    y = np.exp(y)
            return y, lambda g: g

        found: Graph = gl.make_graph(lambda x: np.sin(inner(np.cos(x))))(X)
        return found

    settled = settle(within("GPU"), "numpy")
    places = node_places(settled)
    assert places is not None
    by_op = {node[0].name: place for node, place in zip(settled.nodes, places, strict=True)}
    assert (by_op["cos"], by_op["call"], by_op["sin"]) == (None, "GPU=1", None)
    with pytest.raises(DeviceError, match=r"call: one op cannot need several resources(.|\n)*got: BIG=1, GPU=1"):
        settle(within("GPU", "BIG"), "numpy")


def test_lazy_tensors() -> None:
    a, b = gl.tensor(X), gl.tensor(W)
    with gl.device("boards:2"):
        y = np.sum(np.tanh(a @ b))
    expected = gl.value_and_grad(lambda b: np.sum(np.tanh(X @ b)))(W)
    for got, want in zip(gl.compute(y, *gl.gradients(y, [b])), expected, strict=True):
        assert_same_bits(np.asarray(got), np.asarray(want))
    assert {board for _, board in boards.RAN} == {2}


def test_values_that_literals_make() -> None:
    """They are at no place, and are copied to where they are needed."""

    def f(x: Any) -> Any:
        zeros = np.zeros_like(x) + 2.0
        with gl.device("boards:1"):
            ones = np.ones_like(x)
            return np.sum(np.maximum(x, zeros) * ones * 3.0)

    for transformed in (gl.grad(f), gl.jit(gl.grad(f))):
        assert_same_bits(transformed(np.array([1.0, 2.0, 3.0])), np.array([0.0, 1.5, 3.0]))


def test_regions_keep_to_one_place() -> None:
    """The compiler takes what runs on NumPy arrays, in regions that end where the place does."""

    def f(x: Any) -> Any:
        y = np.exp(np.sin(x) * 2.0)
        with gl.device("boards:1"):
            y = np.sqrt(np.cos(y) + 2.0)
        with gl.device("GPU"):
            y = np.tanh(np.cosh(y))
        return np.sum(y * y)

    x = np.linspace(0.0, 1.0, 5000)
    plan = Plan(gl.make_graph(f)(x), backends.get("numpy"), compiler_for("numpy"))
    assert plan.places is not None
    regions: dict[Any, set[str]] = {}
    for (op, _, attrs), place in zip(plan.graph.nodes, plan.places, strict=True):
        if op.name == "region":
            regions.setdefault(place, set()).update([node.op.name for node in attrs[0]])
    assert {key: own - {"input", "literal"} for key, own in regions.items()} == {
        None: {"sin", "multiply", "exp", "sum"},
        "GPU=1": {"cosh", "tanh"},
    }
    assert plan.resources == {"GPU=1"}
    expected = np.sum(np.tanh(np.cosh(np.sqrt(np.cos(np.exp(np.sin(x) * 2.0)) + 2.0))) ** 2)
    np.testing.assert_allclose(plan.run([x])[0], expected, rtol=1e-13)


def copies(graph: Graph) -> list[tuple[Any, ...]]:
    return [(attrs, inputs) for op, inputs, attrs in graph.nodes if op is TO_DEVICE]


def test_copies_are_made_once_and_cancel() -> None:
    def f(x: Any, w: Any) -> Any:
        with gl.device("boards:1"):
            a = x @ w
        with gl.device("boards:1"):
            b = np.sin(a) + np.cos(a) + np.sum(w)
        with gl.device("numpy"):
            return np.sum(b) + np.sum(x)

    plan = Plan(gl.make_graph(f)(X, W), backends.get("numpy"))
    attrs = [attrs for attrs, _ in copies(plan.graph)]
    assert sorted(attrs, key=str) == sorted([("boards:1", None), ("boards:1", None), (None, "boards:1")], key=str)


# -- several devices -------------------------------------------------------------------------


def ensemble(*names: str) -> Callable[..., Any]:
    """Return a loss of four branches, on any of some devices."""

    def loss(x: Any, *weights: Any) -> Any:
        total = 0.0
        for w in weights:
            with gl.device(*names):
                y = x
                for _ in range(3):
                    y = np.tanh(y @ w)
                total = total + np.sum(y**2)
        return total

    return loss


def test_branches_are_spread_over_devices() -> None:
    """Each branch stays on one device, forward and backward, and each device gets as much."""
    n = 120
    x = rng().normal(size=(n, n))
    weights = [rng().normal(size=(n, n)) / n + k for k in range(4)]
    positions = (1, 2, 3, 4)
    expected = gl.grad(ensemble("numpy"), argnums=positions)(x, *weights)
    f = gl.grad(ensemble("boards:0", "boards:1"), argnums=positions)
    for _ in range(2):
        for got, want in zip(f(x, *weights), expected, strict=True):
            assert_same_bits(got, want)
    plan = Plan(gl.make_graph(f)(x, *weights), backends.get("numpy"))
    places = plan.places
    assert places is not None
    products = [places[i] for i, node in enumerate(plan.graph.nodes) if "matmul" in node[0].name]
    assert sorted(products, key=str) == ["boards:0"] * 16 + ["boards:1"] * 16
    # Copied are the data, to both; each weight matrix; partial sums; seeds; and the gradients home.
    assert len(copies(plan.graph)) <= 2 + 4 + 4 + 4 + 4
    again = Plan(gl.make_graph(f)(x, *weights), backends.get("numpy"))
    assert again.places == places


def test_spread_branches_in_threads() -> None:
    """The tasks of different devices run side by side, with the same bits."""
    from gradloom_dask.threads import ThreadsExecutor

    x = rng().normal(size=(40, 40))
    weights = [rng().normal(size=(40, 40)) for _ in range(4)]
    f = gl.jit(gl.grad(ensemble("boards:1", "boards:2"), argnums=(1, 2, 3, 4)))
    with gl.scheduler("serial"):
        expected = f(x, *weights)
    with gl.scheduler(ThreadsExecutor(workers=2, always=True)):
        for _ in range(2):
            for got, want in zip(f(x, *weights), expected, strict=True):
                assert_same_bits(got, want)


# -- a placement is plain data ---------------------------------------------------------------


def test_it_prints_pickles_and_compares() -> None:
    graph = gl.make_graph(two_branches("boards:1", "GPU"))(X, W, V)
    other = gl.make_graph(two_branches("boards:2", "GPU"))(X, W, V)
    assert graph != other
    assert graph.content_hash() != other.content_hash()
    copy = pickle.loads(pickle.dumps(graph))
    assert copy == graph
    assert node_places(copy) == node_places(graph)
    assert "to_device(x0, target='boards:1', source=None)" in str(graph)
    assert "to_worker(x0, target='GPU=1', source=None)" in str(graph)
    svg = gl.visualize(graph).svg
    assert "on boards:1" in svg
    assert "on GPU=1" in svg


def test_equal_ops_in_two_places_stay_two() -> None:
    def f(x: Any) -> Any:
        with gl.device("boards:1"):
            a = np.sin(x)
        with gl.device("boards:2"):
            b = np.sin(x)
        return a + b

    assert_same_bits(np.asarray(gl.jit(f)(0.5)), np.asarray(2 * np.sin(0.5)))
    assert boards.RAN == {("sin", 1): 1, ("sin", 2): 1}


# -- what cannot be --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (("bords:1",), r"there is no backend 'bords'(.|\n)*'boards', 'cupy'"),
        (("boards:x",), "the index of a device is not a number"),
        (("boards:-1",), "the index of a device is not a number"),
        (("GPU=0",), "a resource needs a name and a positive amount"),
        (("GPU=nan",), "a resource needs a name and a positive amount"),
        (("GPU=many",), "the amount of a resource is not a number"),
        ((3,), "this is not a name"),
        ((), "no device was named"),
        (("boards:1", "GPU"), "several places must all be devices"),
    ],
)
def test_what_is_no_place(names: tuple[Any, ...], why: str) -> None:
    with pytest.raises(DeviceError, match=why), gl.device(*names):
        raise AssertionError


@pytest.mark.parametrize("make", [gl.grad, gl.jit, gl.vmap, lambda f: lambda x: gl.compute(f(gl.tensor(x)))])
@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("boards:3", "backend 'boards' has 3 devices here(.|\n)*expected: .*boards:2, numpy:0"),
        ("numpy:1", "backend 'numpy' has 1 device here"),
        ("dask", "backend 'dask' has 0 devices here"),
        ("cupy:1", r"no device 'cupy:1': backend 'cupy' cannot run here: (.|\n)*expected: .*numpy:0"),
        ("GPU", "no worker has GPU=1: the scheduler 'serial' has no workers"),
    ],
)
def test_what_is_not_there(make: Any, place: str, why: str) -> None:
    """It raises before any kernel has run."""

    def f(x: Any) -> Any:
        with gl.device("boards:1"):
            y = np.sin(x)
        with gl.device(place):
            return np.cos(y * 1.0)

    with pytest.raises(DeviceError, match=why) as raised:
        make(f)(np.float64(1.0) if make is not gl.vmap else np.ones(3))
    assert isinstance(raised.value, BackendError)
    assert "test_placement.py" in str(raised.value)
    assert not boards.RAN


def test_the_threads_have_no_resources_either() -> None:
    with pytest.raises(DeviceError, match="'threads' has no workers"), gl.scheduler("threads"):
        gl.grad(two_branches("GPU", None))(X, W, V)


class TestBoards(BackendConformance):
    backend = "boards"
    test_value = None  # type: ignore[assignment]  # those of NumPy
    test_gradient = None  # type: ignore[assignment]
