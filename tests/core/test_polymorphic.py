"""What is made of a graph is found once for all sizes: and is what it would be if it were made from nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.core.test_random_programs import INSTRUCTIONS, run

import gradloom as gl
from gradloom import ahead, polymorphic, structure
from gradloom.backend import backends
from gradloom.compiler import compiler_for
from gradloom.decision import decide
from gradloom.errors import GradloomError, MissingRuleError
from gradloom.graph import Graph
from gradloom.op import Op
from gradloom.plan import Plan
from gradloom.polymorphic import MAX_RESULTS, Polymorphic, Shared
from gradloom.program import _PREPARED, _prepare
from gradloom.pytree import flatten
from gradloom.source import same_lines
from gradloom.spec import Spec
from gradloom.symbolic import Symbolic
from gradloom.tasks import step_costs
from gradloom.tracing import leaf_specs, trace_abstractly

#: Shapes that meet in several ways: equal axes, axes of length 1, lengths that rules look out for.
SHAPES = [(5, 7), (6, 8), (7, 7), (1, 7), (7, 1), (8, 5), (64, 3), (2, 9), (16, 17), (60, 6)]


def traced(f: Callable[..., Any], *args: Any) -> Graph:
    """Return the graph that `jit` makes of a function, in which gradients are still to be taken."""
    leaves, structure = flatten((args, {}))
    return trace_abstractly("jit", f, structure, leaf_specs("jit", structure, leaves), leaves).graph


def from_nothing(graph: Graph) -> Graph:
    """Return what is planned for a graph, made without symbolic numbers."""
    return _prepare(graph, "numpy", compiler_for("numpy"))


class Counted:
    """Counts how often a graph is really simplified."""

    def __init__(self) -> None:
        self.count = 0
        self.of = Polymorphic(self._prepare)

    def _prepare(self, graph: Graph) -> Graph:
        self.count += 1
        return from_nothing(graph)


def assert_same(a: Graph, b: Graph) -> None:
    """Not one spec, line or bit of a literal differs, whether nodes are read one by one or all at once."""
    assert tuple(map(a.raw_node, range(len(a)))) == b.nodes
    assert a == b
    assert a.specs == b.specs
    assert same_lines(a.sources, b.sources)
    assert list(map(repr, a.literals)) == list(map(repr, b.literals))


def gradients(program: Any) -> list[Callable[..., Any]]:
    """Return transforms of a random program: reverse, over each other, forward."""
    f = lambda x, y: run(program, x, y)  # noqa: E731
    return [
        gl.value_and_grad(f, (0, 1)),
        gl.grad(lambda x, y: np.sum(gl.grad(f)(x, y) ** 2)),
        lambda x, y: gl.jvp(lambda x: f(x, y), (x,), (2 * x,)),
    ]


@settings(max_examples=12)
@given(INSTRUCTIONS, st.lists(st.sampled_from(SHAPES), min_size=3, max_size=5, unique=True))
def test_random_programs(program: Any, shapes: list[tuple[int, int]]) -> None:
    """After other shapes comes out what comes out of nothing, and what the function itself returns."""
    for f in gradients(program):
        shared = Counted()
        for shape in shapes:
            graph = traced(f, np.zeros(shape), np.zeros(shape[1]))
            assert_same(shared.of(graph), from_nothing(graph))
        assert shared.count <= len(shapes)  # none had to be evaluated twice, as symbolic numbers did not do


def network(x: Any, y: Any, w: Any, v: Any) -> Any:
    """Return a loss in which sizes are lengths, ends of slices and numbers."""
    hidden = np.tanh(x @ w)
    for k in range(3):
        hidden = np.tanh(hidden @ v + k)
    return np.mean((hidden[:, : len(v) - 1] - y[:, None]) ** 2) / x.shape[1] + 0.25 * len(x) * np.sum(v**2)


def arguments(samples: int, features: int, width: int) -> list[Any]:
    """Return arguments of the network."""
    rng = np.random.default_rng(samples)
    shapes = [(samples, features), (samples,), (features, width), (width, width)]
    return [rng.normal(size=shape) for shape in shapes]


def test_once_for_all_sizes() -> None:
    """Sizes that nothing depends on need no second look; those that are equal, 1, or meet others do."""
    gradient = gl.value_and_grad(network, (2, 3))
    counted = Counted()
    for sizes, count in [
        ((50, 7, 11), 1),
        ((51, 7, 11), 1),
        ((73, 9, 12), 1),
        ((9, 9, 12), 2),  # as many samples as features
        ((13, 13, 17), 2),
        ((1, 9, 12), 3),
        ((1, 8, 13), 3),
        ((30, 8, 1), 4),
        ((0, 8, 13), 5),
        ((90, 6, 14), 5),
    ]:
        graph = traced(gradient, *arguments(*sizes))
        assert_same(counted.of(graph), from_nothing(graph))
        assert counted.count == count, sizes


def test_where_it_pays_is_asked_again() -> None:
    """Whether products are merged depends on their sizes."""

    def loss(w: Any, v: Any, xs: Any) -> Any:
        h = np.zeros((xs.shape[1], len(v)))
        for x in xs:
            h = np.tanh(x @ w + h @ v)
        return np.sum(h)

    counted = Counted()
    gradient = gl.grad(loss, (0, 1))
    lengths = []
    for samples in (11, 13, 200, 211, 14):
        graph = traced(gradient, np.zeros((30, 31)), np.zeros((31, 31)), np.zeros((4, samples, 30)))
        found = counted.of(graph)
        assert_same(found, from_nothing(graph))
        lengths.append(len(found))
    assert lengths[0] == lengths[1] == lengths[4]
    assert lengths[2] == lengths[3] > lengths[0]
    assert counted.count == 2


def test_bits_do_not_depend_on_what_came_before() -> None:
    """A plan that is found by another size gives the bits of one that is made from nothing."""
    sizes = [(45, 7, 11), (40, 6, 9), (57, 5, 30), (300, 40, 20)]
    gradient = gl.value_and_grad(network, (0, 2, 3))
    _PREPARED.clear()
    after = gl.jit(gradient)
    found = [after(*arguments(*size)) for size in sizes]
    for size, (value, slopes) in zip(sizes, found, strict=True):
        _PREPARED.clear()
        expected = gl.jit(gradient)(*arguments(*size))
        np.testing.assert_array_equal(value, expected[0])
        for a, b in zip(slopes, expected[1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_single_graph_takes_no_note() -> None:
    """The first of a structure is evaluated as it is, the second with symbolic numbers, the third not at all."""
    kinds = []

    def noted(graph: Graph) -> Graph:
        kinds.append(type(graph.specs[0].shape[0]))
        return graph

    function = Polymorphic(noted, after=1)
    graphs = [traced(lambda x: x * 1.5, np.zeros(n)) for n in (4, 5, 6)]
    for graph in graphs:
        assert function(graph) == graph
    assert kinds == [int, Symbolic]


def test_nobody_waits_for_a_large_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the second of a structure a thread takes symbolic numbers, and what others need is used at once."""
    kinds, used = [], []

    def noted(graph: Graph) -> Graph:
        kinds.append((type(graph.specs[0].shape[0]), ahead.is_here()))
        return graph

    monkeypatch.setattr(polymorphic, "MAX_FORESEEN", 1)
    function = Polymorphic(noted, after=1, use=used.append)
    plain, symbolic = (int, False), (Symbolic, True)
    for n, expected in ((4, [plain]), (5, [plain, plain, symbolic]), (6, [plain, plain, symbolic])):
        graph = traced(lambda x: x * 1.5, np.zeros(n))
        assert function(graph) == graph
        ahead.wait()
        assert kinds == expected
    assert [graph.pattern is None for graph in used] == [False]


def test_what_is_begun_is_waited_for() -> None:
    """A size that comes while a thread finds what all need waits for the rest; what has not begun it does itself."""
    began, go_on = threading.Event(), threading.Event()
    kinds = []

    def noted(graph: Graph) -> Graph:
        kinds.append((type(graph.specs[0].shape[0]), ahead.is_here()))
        if ahead.is_here():
            began.set()
            assert go_on.wait(10)
        return graph

    function = Polymorphic(noted, after=1)
    graphs = [traced(lambda x: x * 1.5, np.zeros(n)) for n in (4, 5)]
    function(graphs[0])
    function.foresee(graphs[0])
    assert began.wait(10)
    others = [traced(lambda x: np.sin(x) * 1.5, np.zeros(n)) for n in (4, 5)]  # of another structure
    function(others[0])
    function.foresee(others[0])
    assert function(others[1]) == others[1]
    threading.Timer(0.2, go_on.set).start()
    assert function(graphs[1]) == graphs[1]
    ahead.wait()
    assert kinds == [(int, False), (Symbolic, True), (int, False), (Symbolic, False)]


@pytest.mark.parametrize("number", [0.0, -0.0, 1.0, -1.0, 2.0, np.inf, np.nan, 3.0, 1e-320, 0.1, 8.0, 1e100])
def test_literals(number: float) -> None:
    """What is a number among others may be one that rules look out for, or none that an operation keeps."""

    def graph(c: float) -> Graph:
        return traced(gl.grad(lambda x: np.sum((x * c) / 7.5 * 0.3 + c / 3.5 * (1.5 * c) ** 2 + x**c)), np.zeros(5))

    counted = Counted()
    for c in (0.7, number, 0.9):
        assert_same(counted.of(graph(c)), from_nothing(graph(c)))


def test_lines_are_those_of_the_function() -> None:
    """Functions of one structure have their own lines, and one result."""
    counted = Counted()
    for f in (
        lambda x: np.sum(np.sin(x) / np.cos(x)),
        lambda x: np.sum(
            np.sin(x)
            / np.cos(
                x,
            )
        ),
    ):
        graph = traced(gl.grad(f), np.zeros(4))
        found = counted.of(graph)
        assert_same(found, from_nothing(graph))
        assert {source[0] for source in found.sources if source is not None} == {f.__code__}
    assert counted.count == 1


def test_one_line_that_would_be_two() -> None:
    """What was written once may be written twice elsewhere; then lines do not follow from lines."""

    def once(x: Any) -> Any:
        for _ in range(2):
            x = np.sin(x)
        return np.sum(x)

    def twice(x: Any) -> Any:
        x = np.sin(x)
        x = np.sin(x)
        return np.sum(x)

    for first, second, count in ((once, twice, 2), (twice, once, 1)):
        counted = Counted()
        for f in (first, second, first):
            graph = traced(gl.grad(f), np.zeros(4))
            assert_same(counted.of(graph), from_nothing(graph))
        assert counted.count == count


def test_few_nodes_are_written() -> None:
    """A run of another size looks at a node of each kind: what was asked of all others holds for it too."""
    steps = 40

    def loss(w: Any, xs: Any) -> Any:
        h = xs[0]
        for k in range(steps):
            h = np.tanh(xs[k] + h @ w)
        return np.sum(h)

    of = Polymorphic(_prepare)
    compiler = compiler_for("numpy")
    rng = np.random.default_rng(0)
    for rows in (5, 6, 7):
        w, xs = rng.normal(size=(4, 4)) / 2, rng.normal(size=(steps, rows, 4))
        graph = traced(gl.grad(loss), w, xs)
        plan = Plan(of(graph, "numpy", compiler), backends.get("numpy"), compiler, arranged=True)
        (found,) = plan.run([w, xs])
        np.testing.assert_allclose(found, gl.grad(loss)(w, xs), rtol=1e-12, atol=1e-12)
    assert not _is_there(plan.graph, "nodes")
    assert _is_there(from_nothing(graph), "nodes")


def test_foreseen_when_it_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs a second time is found for other sizes meanwhile: another one finds all that follows from sizes."""
    _PREPARED.clear()
    kinds: list[Any] = []

    def noted(graph: Graph, *others: Any) -> Graph:
        kinds.append(type(graph.specs[graph.inputs[-1]].shape[0]))
        return _prepare(graph, *others)

    monkeypatch.setattr(_PREPARED, "_function", noted)
    gradient = gl.value_and_grad(network, (0, 2, 3))
    fast = gl.jit(gradient)
    fast(*arguments(50, 7, 11))
    ahead.wait()
    assert kinds == [int]
    fast(*arguments(50, 7, 11))
    ahead.wait()
    assert kinds == [int, Symbolic]
    found = [fast(*arguments(*size)) for size in ((51, 7, 11), (73, 9, 12))]
    fast(*arguments(51, 7, 11))
    ahead.wait()
    assert kinds == [int, Symbolic]
    for size, (value, slopes) in zip(((51, 7, 11), (73, 9, 12)), found, strict=True):
        _PREPARED.clear()
        expected = gl.jit(gradient)(*arguments(*size))
        np.testing.assert_array_equal(value, expected[0])
        for a, b in zip(slopes, expected[1], strict=True):
            np.testing.assert_array_equal(a, b)


def test_results_are_bounded() -> None:
    """Of one structure some results are remembered, and the latest is among them."""
    count = 0

    def asking(graph: Graph) -> Graph:
        nonlocal count
        count += 1
        range(graph.specs[0].shape[0])  # asks for the number itself
        return graph

    pinned = Polymorphic(asking)
    graphs = [traced(lambda x: x * 1.5, np.zeros(n)) for n in range(2, 4 + MAX_RESULTS)]
    for graph in graphs:
        assert pinned(graph) == pinned(graph) == graph
    assert count == len(graphs)
    assert pinned(graphs[-MAX_RESULTS]) == graphs[-MAX_RESULTS]
    assert count == len(graphs)
    assert pinned(graphs[0]) == graphs[0]
    assert count == len(graphs) + 1


def test_where_no_result_is_found_again_none_is_made() -> None:
    """Symbolic numbers take longer, which does not pay where each graph needs a result of its own."""
    symbolic = 0

    def asking(graph: Graph) -> Graph:
        nonlocal symbolic
        symbolic += type(graph.specs[0].shape[0]) is Symbolic
        range(graph.specs[0].shape[0])
        return graph

    pinned = Polymorphic(asking)
    for n in range(2, 40):
        graph = traced(lambda x: x * 1.5, np.zeros(n))
        assert pinned(graph) == graph
    assert symbolic == MAX_RESULTS


def test_nodes_are_counted_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a graph that is too large nothing is asked but how large it is, with the graphs that it holds."""
    graph = traced(gl.grad(lambda x: np.sum(x * 1.5)), np.zeros(4))
    size = len(graph) + sum([len(a) for _, _, attrs in graph.nodes for a in attrs if isinstance(a, Graph)])
    keys = []
    original = structure.Structure.graph
    monkeypatch.setattr(structure.Structure, "graph", lambda self, g: keys.append(g) or original(self, g))
    for most, asked in ((size - 1, 0), (size, 2)):  # the graph, and the one that it holds
        monkeypatch.setattr(polymorphic, "MAX_NODES", most)
        assert Polymorphic(from_nothing)(graph) == from_nothing(graph)
        assert len(keys) == asked


def patterned(sizes: list[tuple[int, int, int]]) -> list[Graph]:
    """Return what is planned for a network of some sizes, found by the first one."""
    function = Polymorphic(from_nothing)
    return [function(traced(gl.value_and_grad(network, (2, 3)), *arguments(*size))) for size in sizes]


SIZES = [(50, 7, 11), (51, 7, 11), (73, 9, 12), (60, 8, 13), (59, 8, 13)]


def test_shared_data() -> None:
    """Data of graphs of a pattern is evaluated once, and is what it would be; where an answer is another one, anew."""
    kinds = []

    def data(graph: Graph) -> tuple[Any, ...]:
        n = graph.specs[0].shape[0]
        kinds.append(type(n))
        return "long" if n > 60 else "short", graph.specs[0], (n * 2, n // 3)

    shared = Shared(data)
    graphs = patterned(SIZES)
    assert len({graph.pattern for graph in graphs}) == 1
    for graph in graphs:
        expected = data(graph.reordered(range(len(graph))))
        kinds.pop()
        assert shared(graph) == expected
    # Once for all that are short, once for the long one.
    assert kinds == [Symbolic, Symbolic]
    assert shared(from_nothing(traced(lambda x: x * 1.5, np.zeros(61))))[0] == "long"


def test_graphs_in_a_graph_are_written_when_looked_at() -> None:
    """A region found by another size has its specs at once, its nodes when somebody asks."""
    first, *_, last = patterned(SIZES)
    nothing = from_nothing(traced(gl.value_and_grad(network, (2, 3)), *arguments(*SIZES[-1])))
    held = {
        id(a): (a, b)
        for (_, _, own), (_, _, other) in zip(last.nodes, nothing.nodes, strict=True)
        for a, b in zip(own, other, strict=True)
        if isinstance(a, Graph)
    }
    written = [_is_there(region, "nodes") for region, _ in held.values()]
    assert False in written
    for (region, expected), is_there in zip(held.values(), written, strict=True):
        assert region.pattern is not None
        assert region.specs == expected.specs
        assert region.input_specs() == expected.input_specs()
        assert _is_there(region, "literals") is _is_there(region, "nodes") is is_there
        assert_same(region, expected)
        assert _is_there(region, "nodes")
    with pytest.raises(AttributeError, match="no attribute 'edges'"):
        first.edges  # noqa: B018


def _is_there(graph: Graph, name: str) -> bool:
    try:
        object.__getattribute__(graph, name)
    except AttributeError:
        return False
    return True


def test_plans_of_a_pattern_share_their_outline() -> None:
    """What runs, and in which order, is found once; it is what it would be."""
    compiler = compiler_for("numpy")
    plans = [Plan(graph, backends.get("numpy"), compiler, arranged=True) for graph in patterned(SIZES)]
    assert len({id(plan.outline) for plan in plans}) == 1
    for plan, size in zip(plans, SIZES, strict=True):
        graph = from_nothing(traced(gl.value_and_grad(network, (2, 3)), *arguments(*size)))
        other = Plan(graph, backends.get("numpy"), compiler, arranged=True)
        assert [step[1:2] + step[3:] for step in plan.steps] == [step[1:2] + step[3:] for step in other.steps]
        assert plan.outputs == other.outputs
        assert step_costs(plan) == step_costs(other)
        assert decide(plan).one_thread == decide(other).one_thread
        for a, b in zip(plan.run(arguments(*size)), other.run(arguments(*size)), strict=True):
            np.testing.assert_array_equal(a, b)


def test_what_does_not_pay_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where tasks do not pay, they do not for sizes up to a quarter larger either; for others it is asked again."""
    asked: list[Plan] = []
    monkeypatch.setattr("gradloom.decision.step_costs", lambda plan: asked.append(plan) or step_costs(plan))
    compiler = compiler_for("numpy")
    sizes = [(samples, 7, 11) for samples in (50, 60, 51, 75, 100)]
    plans = [Plan(graph, backends.get("numpy"), compiler, arranged=True) for graph in patterned(sizes)]
    for plan, size in zip(plans, sizes, strict=True):
        plan.run(arguments(*size))
        assert decide(plan).schedule is None
    assert [plans.index(plan) for plan in asked] == [0, 3, 4]


def test_what_takes_no_symbolic_numbers() -> None:
    """A function that fails on them gets plain ones, and what it raises on those is the caller's affair."""

    def only_plain(graph: Graph) -> Graph:
        if type(graph.specs[0].shape[0]) is not int:
            raise TypeError
        if graph.specs[0].shape[0] > 5:
            raise GradloomError("too long")
        return graph

    function = Polymorphic(only_plain)
    graph = traced(lambda x: x * 1.5, np.zeros(4))
    assert function(graph) is graph
    with pytest.raises(GradloomError, match="too long"):
        function(traced(lambda x: x * 1.5, np.zeros(6)))


def test_what_fails_again_and_again_is_given_up() -> None:
    """Nobody tries for ever what fails on symbolic numbers."""
    tried = []

    def only_plain(graph: Graph) -> Graph:
        if type(graph.specs[0].shape[0]) is not int:
            tried.append(graph)
            raise TypeError
        return graph

    function = Polymorphic(only_plain)
    for n in range(4, 16):
        function(traced(lambda x: x * 1.5, np.zeros(n)))
        function.foresee(traced(lambda x: x * 1.5, np.zeros(n)))
        ahead.wait()
    assert len(tried) == MAX_RESULTS


def test_missing_rules_are_named() -> None:
    """A gradient that is put off still says what it lacks, and where."""

    def spec(x: Spec) -> Spec:
        return x

    op = Op("test_without_rule", spec=spec)  # not registered: nothing to undo
    for n in (3, 4):
        with pytest.raises(MissingRuleError, match="no gradient rule") as caught:
            gl.jit(gl.grad(lambda x: np.sum(op(x))))(np.ones(n))
        assert caught.value.location is not None
        assert caught.value.location.startswith(__file__)
