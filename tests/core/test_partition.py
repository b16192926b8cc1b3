"""Partition: regions are what they should be, on random graphs and on known ones; with a compiler made of kernels."""

from __future__ import annotations

import pickle
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np
import pytest

import gradloom as gl
from gradloom import partition as module
from gradloom.backend import Kernel, backends
from gradloom.compiler import AbstractCompiler
from gradloom.graph import Graph
from gradloom.partition import partition
from gradloom.plan import Plan
from gradloom.regions import REGION
from gradloom.testing.sample import rng

NUMPY = backends.get("numpy")
UNARY: tuple[Callable[..., Any], ...] = (np.sin, np.cos, np.tanh, np.exp, np.sqrt, np.log, np.square, np.negative)
VIEWS = ("transpose", "broadcast_to", "reshape")
OPS = (
    *"sin cos tanh exp sqrt log square negative add subtract multiply divide sum where equal astype".split(),
    *"annihilating_multiply matmul".split(),
    *VIEWS,
)


class Kernels(AbstractCompiler):
    """A compiler whose kernels run those of NumPy one after the other."""

    name = "kernels"
    backend = "numpy"

    def __init__(self, forms: Mapping[str, int]) -> None:
        self.table = forms
        self.compiled: list[Graph] = []

    def forms(self, op: Any, specs: Any, attrs: Any, out: Any) -> int:
        """Return what the table says."""
        return self.table.get(op.name, 0)

    def compile(self, region: Graph) -> Kernel:
        """Return a function that runs a plan."""
        self.compiled.append(region)
        run = Plan(region, NUMPY).run
        if len(region.outputs) == 1:
            return lambda *arrays: run(arrays)[0]
        return lambda *arrays: tuple(run(arrays))


def elementwise(**forms: int) -> Kernels:
    """Return a compiler of the usual ops, but products of matrices."""
    return Kernels({**dict.fromkeys(OPS, 1), "matmul": 0, **forms})


def regions(graph: Graph) -> list[Graph]:
    """Return the regions of a partitioned graph."""
    return [attrs[0] for op, _, attrs in graph.nodes if op is REGION]


def names(graph: Graph) -> list[str]:
    """Return the ops of a graph that compute."""
    return [op.name for op, inputs, _ in graph.nodes if inputs]


def random_function(seed: int) -> Callable[..., Any]:
    """Return a function of three arrays that computes something."""

    def function(*inputs: Any) -> Any:
        generator = rng(seed)
        values = list(inputs)
        for _ in range(generator.integers(3, 40)):
            u, v = values[generator.integers(len(values))], values[-1 - generator.integers(min(4, len(values)))]
            choice = generator.integers(9)
            if choice < 4:
                values.append(UNARY[generator.integers(len(UNARY))](u))
            elif choice == 4 and u.ndim:
                values.append(np.sum(u, axis=int(generator.integers(u.ndim))))
            elif choice == 5:
                values.append(u.T)
            elif choice == 6 and u.ndim == 2 == v.ndim and u.shape[1] == v.shape[0]:
                values.append(u @ v)
            elif choice == 7 and u.ndim:
                values.append(np.cumsum(u, axis=0))
            elif all([m == n or 1 in (m, n) for m, n in zip(u.shape[::-1], v.shape[::-1], strict=False)]):
                values.append(u + v if choice % 2 else u * v)
        return tuple(values[-3:])

    return function


@pytest.mark.parametrize("heavy", [1, 9, 4096])
@np.errstate(all="ignore")
def test_random_graphs(heavy: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Regions are convex, have a form in common, are the same each time, and change no bit."""
    monkeypatch.setattr(module, "HEAVY", heavy)
    args = [rng(1).normal(size=(4, 4)), rng(2).normal(size=(4,)), rng(3).normal(size=(3, 4))]
    for seed in range(100):
        graph = gl.make_graph(random_function(seed))(*args)
        forms = dict(zip(OPS, rng(seed).choice([0, 1, 2, 3], len(OPS), p=[0.1, 0.4, 0.15, 0.35]).tolist(), strict=True))
        if seed % 3:
            forms.update(dict.fromkeys(VIEWS, 3))
        compiler = Kernels(forms)
        cut = partition(graph, compiler)  # does not end where regions wait for each other
        assert cut == partition(graph, compiler)
        assert [op.name for op, _, _ in cut.nodes].count("input") == len(args)
        for i, (_, inputs, _) in enumerate(cut.nodes):
            assert all(j < i for j in inputs)
        for region in regions(cut):
            common = 3
            for name in names(region):
                common &= forms.get(name, 0)
            assert common, f"no common form:\n{region}"
            assert len(set(region.outputs)) == len(region.outputs) > 0
        for one, other in zip(Plan(graph, NUMPY, compiler).run(args), Plan(graph, NUMPY).run(args), strict=True):
            np.testing.assert_array_equal(one, other)


def test_one_region() -> None:
    """A chain, what is reduced from it and what follows make one region, with what others ask for as outputs."""

    def f(x: Any) -> Any:
        a = np.sin(x) * 2.0
        return np.exp(a - np.sum(a)), a

    cut = partition(gl.make_graph(f)(np.ones((3, 4))), elementwise())
    (region,) = regions(cut)
    assert sorted(names(region)) == ["exp", "multiply", "sin", "subtract", "sum"]
    assert len(region.outputs) == 2
    assert names(cut) == ["region", "item", "item"]


def test_two_views_of_one_value_are_two_inputs_of_a_region() -> None:
    """A value read along two of its axes at once is two inputs, and no view is an array between kernels."""
    differences = lambda x: np.sum(np.exp(-np.square(np.reshape(x, (-1, 1)) - x)))  # noqa: E731
    for function, x in ((lambda a: np.tanh(a + a.T), rng(1).normal(size=(90, 90))), (differences, np.arange(90.0))):
        compiler = elementwise()
        cut = partition(gl.make_graph(function)(x), compiler)
        (node,) = [node for node in cut.nodes if node[0] is REGION]
        assert names(cut) == ["region"]
        assert node[1] == (0, 0)
        np.testing.assert_array_equal(Plan(cut, NUMPY, compiler).run([x])[0], function(x))


def test_branches_stay_apart() -> None:
    """Branches of products that meet in a number are regions of their own."""

    def f(a: Any, b: Any) -> Any:
        u, v = np.tanh(np.cos(a) @ a) * 2.0, np.tanh(np.sin(b) @ b) * 3.0
        return np.sum(u * u) + np.sum(v * v)

    a, b = rng(1).normal(size=(80, 80)), rng(2).normal(size=(90, 90))
    for function in (f, gl.value_and_grad(f, (0, 1))):
        for region in regions(partition(gl.make_graph(function)(a, b), elementwise())):
            lengths = {n for spec in region.specs for n in spec.shape if n > 1}
            assert len(lengths) <= 1, f"two branches in one region:\n{region}"
    # Small ones may share a region: nothing is gained by running them apart.
    small = partition(gl.make_graph(lambda x, y: np.sum(np.sin(x)) + np.sum(np.cos(y)))(a[0], b[0]), elementwise())
    assert len(regions(small)) == 1


def test_steps_of_a_loop_share_their_kernels() -> None:
    """Every step of an unrolled network is the same region, so that few are compiled."""

    def rnn(w: Any, u: Any, h: Any, xs: Any) -> Any:
        for x in xs:
            h = np.tanh(h @ w + x @ u)
        return np.sum(h * h)

    counts = []
    for steps in (5, 10, 40):
        xs = [rng(k).normal(size=(32, 64)) for k in range(steps)]
        args = rng(1).normal(size=(64, 64)), rng(2).normal(size=(64, 64)), np.zeros((32, 64)), xs
        compiler = elementwise()
        plan = Plan(gl.make_graph(gl.value_and_grad(rnn, (0, 1)))(*args), NUMPY, compiler)
        assert len(regions(plan.graph)) >= 2 * (steps - 1)
        counts.append(len(compiler.compiled))
    assert counts[0] == counts[1] == counts[2] <= 6


@pytest.mark.parametrize("kind", ["chain", "products", "fan"])
def test_time_is_linear(kind: str) -> None:
    """Ten times as many nodes take about ten times as long."""
    functions: dict[str, Callable[[Any, int], Any]] = {"chain": _chain, "products": _products, "fan": _fan}
    seconds = []
    for count in (4_000, 40_000):
        graph = gl.make_graph(lambda x, n=count: functions[kind](x, n))(np.ones((10, 10)))
        start = time.process_time()
        partition(graph, elementwise())
        seconds.append(time.process_time() - start)
    assert seconds[1] < 40 * seconds[0]


def _chain(x: Any, count: int) -> Any:
    for _ in range(count // 2):
        x = np.sin(x) * 1.5
    return x


def _products(x: Any, count: int) -> Any:
    y = x
    for _ in range(count // 4):
        y = np.tanh(y @ x) * 1.5 + x
    return y


def _fan(x: Any, count: int) -> Any:
    return [np.sum(np.sin(x) * k) for k in range(count // 3)]


CASES: dict[str, Callable[[Any], Any]] = {
    "inputs": lambda x: (x, x, np.sin(x) * 2, x),
    "duplicates": lambda x: (lambda y: (y, y, np.transpose(y), np.reshape(y, -1), y[None]))(np.sin(x) * 2),
    "constants": lambda x: (np.sin(x) * 2, x * 0 + 1.0, gl.grad(lambda u: np.sum(u) * 3.0)(x)),
    "inner values": lambda x: (lambda a: (a, np.cos(a), np.sum(np.cos(a)), a * np.sum(a)))(np.sin(x) * 2),
    "gradient of a view": gl.grad(lambda x: np.sum(np.broadcast_to(x, (2, *np.shape(x))) * 3.0)),
    "gradient of a gradient": gl.grad(lambda x: np.sum(gl.grad(lambda u: np.sum(u * u * 2.0))(x) * x)),
    "views of literals": lambda x: gl.grad(lambda u: np.sum(u))(x) * x + np.sum(gl.grad(lambda u: np.sum(u))(x)),
    "what is not fused between": lambda x: (lambda a: a + np.cumsum(a) * np.sum(np.cumsum(a * 2.0)))(np.ravel(x) * 2.0),
    "transposed itself": lambda x: (lambda m: np.sum(m + m.T) + m * m.T)(
        np.sin(np.ravel(x)[:70, None] * np.ravel(x)[:70])
    ),
    "conditions": lambda x: np.where(np.sin(x) == 0, np.cos(x), x) / np.sum(np.where(x == 0.0, 1.0, x)),
}


@pytest.mark.parametrize("shape", [(), (7,), (3, 4), (1, 5), (4, 1), (1, 1), (60, 80), (0,), (0, 4)], ids=str)
@pytest.mark.parametrize("case", CASES)
@np.errstate(all="ignore")
def test_values(case: str, shape: tuple[int, ...]) -> None:
    """Regions give the bits of single kernels, outputs are their own, and a pickled plan gives the same."""
    x = np.asarray(rng(4).normal(size=shape))
    graph = gl.make_graph(CASES[case])(x)
    want = Plan(graph, NUMPY).run([x])
    plan = Plan(graph, NUMPY, elementwise())
    for _ in range(2):
        got = plan.run([x])
        for k, (one, other) in enumerate(zip(got, want, strict=True)):
            np.testing.assert_array_equal(one, other)
            assert np.asarray(one).dtype == np.asarray(other).dtype
            assert not any(np.shares_memory(one, a) for a in (x, *got[:k]))
    assert pickle.loads(pickle.dumps(plan.graph)) == plan.graph


# -- regions that fail -----------------------------------------------------------------------


class Failing(Kernels):
    """A compiler that cannot compile."""

    name = "failing"

    def compile(self, region: Graph) -> Kernel:
        """Raise."""
        raise RuntimeError("no such instruction")


def test_a_failing_region_runs_by_single_kernels() -> None:
    """One warning for each region that does not compile, which names its ops and line; the values are the same."""

    def f(x: Any) -> Any:
        a = np.sin(x) * 2.0
        return np.exp(a - np.sum(a)), a

    x = rng(1).normal(size=(3, 4))
    graph = gl.make_graph(f)(x)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = Plan(graph, NUMPY, Failing(elementwise().table))
        runs = [plan.run([x]) for _ in range(3)]
    (warning,) = caught
    assert warning.category is RuntimeWarning
    assert str(warning.message) == (
        "compiler 'failing' failed on a region of sin, multiply, sum, subtract, exp; "
        "it runs by kernels of single ops: no such instruction\n"
        f"  at {__file__}:{f.__code__.co_firstlineno + 2}"
    )
    for run in runs:
        for one, other in zip(run, Plan(graph, NUMPY).run([x]), strict=True):
            np.testing.assert_array_equal(one, other)


class Begun(Kernels):
    """A compiler that notes what it begins and what is waited for, and can fail at either."""

    def __init__(self, forms: Mapping[str, int], fails: str = "") -> None:
        super().__init__(forms)
        self.fails = fails
        self.events: list[str] = []

    def compile(self, region: Graph) -> Kernel:
        """Begin, and wait."""
        return self.begin(region)()

    def begin(self, region: Graph) -> Callable[[], Kernel]:
        """Note it."""
        self._happen("begin")

        def finish() -> Kernel:
            self._happen("finish")
            return Kernels.compile(self, region)

        return finish

    def _happen(self, event: str) -> None:
        self.events.append(event)
        if event == self.fails:
            raise RuntimeError(f"no {event}")


def apart(x: Any, w: Any) -> Any:
    """Three regions, two of them equal, with products between them."""
    return np.sin(np.tanh(np.tanh(x @ w) * 2.0 @ w) * 2.0 @ w) - 1.0


@pytest.mark.parametrize("fails", ["", "begin", "finish"])
def test_all_regions_are_begun_before_one_is_waited_for(fails: str) -> None:
    x, w = rng(1).normal(size=(3, 3)), rng(2).normal(size=(3, 3))
    graph = gl.make_graph(apart)(x, w)
    compiler = Begun(elementwise().table, fails)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        plan = Plan(graph, NUMPY, compiler)
    assert compiler.events[:2] == ["begin", "begin"]
    assert compiler.events[2:] == (["begin", "begin"] if fails == "begin" else ["finish", "finish"])
    reasons = [str(warning.message).splitlines()[0].rpartition(": ")[2] for warning in caught]
    assert reasons == ([f"no {fails}"] * 2 if fails else [])
    np.testing.assert_array_equal(cast(Any, plan.run([x, w])[0]), Plan(graph, NUMPY).run([x, w])[0])


def test_equal_regions_that_fail_warn_once() -> None:
    """Steps that share a region share its warning."""

    def f(x: Any, w: Any) -> Any:
        for _ in range(5):
            x = np.tanh(x @ w) * 2.0
        return x

    x, w = rng(1).normal(size=(3, 3)), rng(2).normal(size=(3, 3))
    graph = gl.make_graph(f)(x, w)
    with pytest.warns(RuntimeWarning, match="region of tanh, multiply") as caught:
        plan = Plan(graph, NUMPY, Failing(elementwise().table))
    assert len(caught) == 1
    np.testing.assert_array_equal(cast(Any, plan.run([x, w])[0]), Plan(graph, NUMPY).run([x, w])[0])


def resized_function(seed: int) -> Callable[..., Any]:
    """Return a random function, before which lengths of axes, and numbers made of them, come in."""
    function = random_function(seed)

    def resized(x: Any, y: Any, z: Any) -> Any:
        n = x.shape[0]
        first = x.reshape(n * n)[:n] * (1.0 / n) + y
        return function(np.mean(x, axis=0) + x, first[: max(n // 2, 1)].sum() * y, z * n)

    return resized


@np.errstate(all="ignore")
def test_graphs_that_differ_in_sizes_are_cut_as_if_they_were_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths from one to past the one from which nodes are heavy, equal ones and different ones."""
    monkeypatch.setattr(module, "HEAVY", 25)
    searched: list[int] = []
    search = module._Partition.regions

    def counted(self: Any) -> Any:
        searched.append(len(self.graph.nodes))
        return search(self)

    monkeypatch.setattr(module._Partition, "regions", counted)
    compiler = elementwise()
    for seed in range(60):
        f = resized_function(seed)
        graphs = [gl.make_graph(f)(np.ones((n, n)), np.ones(n), np.ones((3, n))) for n in (2, 4, 3, 1, 5, 6, 30, 31, 2)]
        module._CUTS.clear()
        warm = [partition(graph, compiler) for graph in graphs]
        for graph, one in zip(graphs, warm, strict=True):
            module._CUTS.clear()
            cold = partition(graph, compiler)
            assert one == cold
            assert str(one) == str(cold)
            assert one.specs == cold.specs
            assert one.sources == cold.sources
            for a, b in zip(regions(one), regions(cold), strict=True):
                assert a.specs == b.specs
    assert len(searched) < 60 * 9 * 2 - 100, "hardly any two sizes have shared a cut"


def sums_of_rows(x: Any, y: Any) -> Any:
    """Two loops that have only the rows in common."""
    return np.sum(np.cos(y) * np.sum(np.sin(x), axis=1, keepdims=True))


def chains(*inputs: Any) -> Any:
    """Return parts that have nothing in common."""
    return tuple([np.sum(np.sin(np.cos(x))) for x in inputs])


def scaled(*inputs: Any) -> Any:
    """Return parts that are equal but for a number."""
    return tuple([np.sum(np.sin(x * (k + 2.0))) for k, x in enumerate(inputs)])


def reshaped(*shape: int) -> Callable[..., Any]:
    """Return a function of an array that is read in another shape, and of one with its first axis."""
    return lambda x, y: np.sum(np.cos(y) * np.sum(np.sin(np.sin(x).reshape(shape)), axis=1, keepdims=True))


def crossed(x: Any) -> Any:
    """Return a value that reads another along both of its axes at once."""
    return np.sin(np.cos(x) + x.T)


PAIRS = {
    "views that cross": ((crossed, (6, 6)), (crossed, (1, 1))),
    "views that cross, of two sizes": ((crossed, (6, 6)), (crossed, (7, 7))),
    "axes of length 1": ((sums_of_rows, (4, 9), (4, 8)), (sums_of_rows, (1, 32), (1, 31))),
    "which are equal": ((chains, (30,), (30,), (40,)), (chains, (40,), (30,), (30,))),
    "one more is equal": ((chains, (30,), (30,), (30,)), (chains, (30,), (30,), (40,))),
    "axes that survive": ((reshaped(4, 12), (4, 3, 4), (4, 7)), (reshaped(4, 12), (2, 3, 8), (4, 7))),
    "numbers": ((scaled, (30,), (30,)), (scaled, (40,), (40,))),
    "heavy": ((chains, (30,), (24,)), (chains, (30,), (25,))),
}


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
def test_sizes_that_do_not_share_a_cut(pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a pair is cut by itself whichever comes first, and computes what NumPy does, bit by bit."""
    monkeypatch.setattr(module, "HEAVY", 25)
    compiler = elementwise()
    cold = []
    for f, *shapes in pair:
        module._CUTS.clear()
        cold.append(partition(gl.make_graph(f)(*map(np.ones, shapes)), compiler))
    for order in ((0, 1), (1, 0)):
        module._CUTS.clear()
        for k in order:
            f, *shapes = pair[k]
            args = [rng(k).normal(size=shape) for shape in shapes]
            graph = gl.make_graph(f)(*args)
            found = partition(graph, compiler)
            assert str(found) == str(cold[k])
            assert list(map(str, regions(found))) == list(map(str, regions(cold[k])))
            for found, expected in zip(
                Plan(graph, NUMPY, compiler).run(args), Plan(graph, NUMPY).run(args), strict=True
            ):
                assert np.array_equal(found, expected)
