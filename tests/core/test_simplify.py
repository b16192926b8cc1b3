"""Simplify: fewer nodes, the same results; linear, deterministic, and checked rule by rule on demand."""

from __future__ import annotations

import importlib.util
import math
import pickle
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings

import gradloom as gl
from gradloom.errors import RewriteError
from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.program import Program
from gradloom.simplify import known_table, product_sums, simplify, simplify_with_origins
from gradloom.simplify.builder import Builder, Rule, rebuild, rule_table
from gradloom.simplify.check import CheckingBuilder, agree, special_values
from gradloom.simplify.factors import merge_factors
from gradloom.simplify.products import merge_products
from gradloom.spec import Spec
from gradloom.tensor import Tensor
from gradloom.trace import Trace

X = np.array([0.5, -1.25, 2.0])


def _programs() -> Any:
    path = Path(__file__).with_name("test_random_programs.py")
    spec = importlib.util.spec_from_file_location("random_programs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


random_programs = _programs()


def names(graph: Graph) -> list[str]:
    """Return the ops of a graph, inputs and literals left out."""
    return [op.name for op, _, _ in graph.nodes if op.name not in ("input", "literal")]


def simplified(f: Any, *args: Any) -> Graph:
    """Return a function's graph, simplified with every rewrite checked."""
    return simplify(gl.make_graph(f)(*args), check=True)


class TestEqualNodes:
    """Common subexpressions."""

    def test_become_one(self) -> None:
        """By op, inputs and attrs."""
        assert names(simplified(lambda x: np.sin(x) * np.sin(x) + np.sum(np.sin(x)), X)).count("sin") == 1
        assert names(simplified(lambda x: np.sum(x[None], 0) + np.sum(x[None], 1), X)).count("sum") == 2

    def test_arguments_may_change_places(self) -> None:
        """Of sums and products; not of quotients."""
        assert names(simplified(lambda x: x * np.sin(x) - np.sin(x) * x, X)) == ["sin", "multiply", "subtract"]
        assert names(simplified(lambda x: x / np.sin(x) - np.sin(x) / x, X)).count("divide") == 2

    def test_literals_differ_by_sign_of_zero_and_nan(self) -> None:
        """0.0 and -0.0 are two; one NaN equals another."""
        graph = simplified(lambda x: (np.copysign(x, 0.0), np.copysign(x, -0.0)), X)
        assert names(graph) == ["copysign", "copysign"]
        graph = simplified(lambda x: (x + math.nan, x + float("nan")), X)
        assert names(graph) == ["add"]
        assert graph.outputs[0] == graph.outputs[1]

    def test_literals_of_one_value_and_two_dtypes_stay_apart(self) -> None:
        """2.0 of float32 is not 2.0 of float64."""
        graph = simplified(lambda x, y: (x + 2.0, y + 2.0), X, X.astype(np.float32))
        assert len(graph.literals) == 2
        assert [s.dtype for s in graph.output_specs()] == [np.float64, np.float32]

    def test_outputs_of_ops_with_several(self) -> None:
        """The op and its items are merged."""
        graph = simplified(lambda a: np.linalg.eigh(a)[0] + np.linalg.eigh(a)[0], np.eye(3))
        assert names(graph).count("eigh") == 1

    def test_what_the_user_wrote_still_warns(self) -> None:
        """Where a node of a gradient equals one of the user's, that one warns as in NumPy."""

        def f(x: Any) -> Any:
            inner = gl.grad(lambda t: np.log(t))(x)  # records 1 / x, which is quiet
            return inner + 1.0 / x

        graph = gl.make_graph(f)(0.0)
        assert names(simplify(graph)).count("divide") == 1
        with pytest.warns(RuntimeWarning, match="divide by zero"):
            Program(simplify(graph)).run([np.float64(0.0)])
        quiet = simplify(gl.make_graph(gl.grad(lambda t: np.log(t)))(0.0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            Program(quiet).run([np.float64(0.0)])


class TestGraph:
    """What comes out is a graph like the one that goes in."""

    def test_dead_nodes_go_and_inputs_stay(self) -> None:
        """Also inputs that nothing needs."""

        def f(x: Any, y: Any) -> Any:
            np.exp(y)
            return np.sin(x)

        graph = simplified(f, X, X)
        assert names(graph) == ["sin"]
        assert len(graph.inputs) == 2

    def test_outputs_keep_their_order(self) -> None:
        """Also those that are inputs, literals, or there twice."""
        graph = simplified(lambda x, y: (y, x * 1.0, 3.0, x, np.sin(y), y), X, X + 1)
        results = Program(graph).run([X, X + 1])
        for a, b in zip(results, (X + 1, X, 3.0, X, np.sin(X + 1), X + 1), strict=True):
            np.testing.assert_array_equal(a, b)

    def test_weak_outputs_stay_weak(self) -> None:
        """The results of Python scalars yield to the dtype of arrays."""
        for f in (lambda s: s * 1, lambda s: np.negative(-s), lambda s: s + 2.0, lambda s: s - 0):
            graph = gl.make_graph(f)(1.5)
            assert simplify(graph).output_specs() == graph.output_specs()

    def test_lines_and_origins(self) -> None:
        """Each node has the line of what it stands for; nodes of gradients stay such."""
        graph = gl.make_graph(gl.value_and_grad(lambda x: np.sum(np.sin(x * 1.0) * 2.0)))(X)
        simpler, origins = simplify_with_origins(graph)
        assert len(origins) == len(simpler) < len(graph)
        for i, old in enumerate(origins):
            source, was = simpler.source(i), graph.source(old)
            assert (source is None) == (was is None)
            if source is not None and was is not None:
                assert str(source) == str(was)
                assert source.derived == was.derived
                assert source.origin <= i

    def test_gradients_of_nodes_that_are_gone_are_quiet(self) -> None:
        """The value may be dead while its derivative is not."""
        graph = gl.make_graph(gl.grad(lambda x: np.sum(np.where(x > 0, np.sqrt(x), 0.0))))(X)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            (result,) = Program(simplify(graph)).run([np.array([0.0, 4.0, 1.0])])
        np.testing.assert_array_equal(result, [0.0, 0.25, 0.5])

    def test_pickles_and_repeats(self) -> None:
        """Equal graphs give equal results, in this process and others; simplifying again changes nothing."""
        f = gl.value_and_grad(lambda x: np.sum(np.tanh(x @ x.T) ** 2))
        graph = gl.make_graph(f)(np.ones((3, 4)))
        simpler = simplify(graph)
        assert simplify(pickle.loads(pickle.dumps(graph))).content_hash() == simpler.content_hash()
        assert simplify(gl.make_graph(f)(np.ones((3, 4)))) == simpler
        assert simplify(simpler) == simpler

    def test_errors_of_kernels_still_name_the_line(self) -> None:
        """Through the note that a plan adds."""
        graph = simplify(gl.make_graph(lambda a: np.linalg.solve(a, np.ones(2)) * 1.0)(np.eye(2)))
        with pytest.raises(np.linalg.LinAlgError) as caught:
            Program(graph).run([np.zeros((2, 2)), np.ones(2)])
        assert f"op 'solve' recorded at {__file__}" in caught.value.__notes__[0]


class TestGradients:
    """What the rules make of gradients."""

    def test_seed_of_a_sum_vanishes(self) -> None:
        """Ones that were broadcast are no factor."""
        assert names(simplified(gl.grad(lambda x: np.sum(np.sin(x))), X)) == ["cos"]

    def test_mean(self) -> None:
        """The cotangent of a mean is a number until it meets an array."""
        graph = simplified(gl.grad(lambda x: np.mean(x**2)), X)
        assert names(graph) == ["multiply", "multiply"]

    def test_zero_still_annihilates(self) -> None:
        """A product that may meet inf stays careful."""
        graph = simplified(gl.grad(lambda x: np.sum(np.where(x > 0, np.log(x), 0.0))), X)
        (result,) = Program(graph).run([np.array([0.0, 1.0, 2.0])])
        np.testing.assert_array_equal(result, [0.0, 1.0, 0.5])

    def test_second_order(self) -> None:
        """Hessian products through simplified graphs."""

        def f(x: Any) -> Any:
            return np.sum(np.tanh(x) ** 3 / 4.0) * np.sum(x * np.exp(-(x**2)))

        for g in (gl.hessian(f), lambda x: gl.hvp(f)(x, np.cos(x)), gl.grad(lambda x: np.sum(gl.grad(f)(x) ** 2))):
            graph = gl.make_graph(g)(X)
            expected, got = Program(graph).run([X]), Program(simplify(graph, check=True)).run([X])
            assert len(simplify(graph)) < 0.8 * len(graph)
            for a, b in zip(expected, got, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_long_chain() -> None:
    """Linear and without recursion: 100,000 nodes at a recursion limit of 200."""

    def chain(x: Any) -> Any:
        for _ in range(12_500):
            x = np.sin(x) * 2.0 + x
        return np.sum(x)

    graph = gl.make_graph(gl.value_and_grad(chain))(X)
    assert len(graph) > 80_000
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        start = time.process_time()
        simpler = simplify(graph)
        seconds = time.process_time() - start
    finally:
        sys.setrecursionlimit(limit)
    assert len(simpler) > 80_000
    assert seconds < 40e-6 * len(graph)


def test_long_chains_of_rewritten_nodes() -> None:
    """Each of many nodes is rewritten by what it stands on, without recursion."""

    def chain(x: Any) -> Any:
        for _ in range(5000):
            x = -(-x.reshape(3, 1).reshape(3) * 1.0)
        return x

    graph = gl.make_graph(chain)(X)
    sys_limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        simpler = simplify(graph)
    finally:
        sys.setrecursionlimit(sys_limit)
    assert names(simpler) == []


# -- random programs ---------------------------------------------------------------------------

SPECIAL = np.array([[0.0, -0.0, 1.0], [np.inf, np.nan, -1.0]])


def exact(graph: Graph) -> bool:
    """Return whether only rules held that keep every bit."""
    table = known_table(len(ops))
    rules = [r for always, chosen in table.values() for found in (always, *chosen.values()) for r in found]
    inexact = {r.apply.__name__ for r in rules if not r.exact}
    g = CheckingBuilder(table)
    rebuild(graph, g)
    merged = [merge(graph, Builder(table)) for merge in (merge_factors, merge_products)]
    return inexact.isdisjoint(g.fired) and merged == [None, None]


def traced(f: Any, *args: Any) -> tuple[Graph, list[Any]]:
    """Return the graph of a function, and values for its inputs: arguments, then arrays it closes over."""
    trace = Trace(Tensor)
    out = f(*[trace.add_input(Spec(a.shape, a.dtype), a) for a in args])
    leaves = [*out] if isinstance(out, tuple) else [out]
    graph = trace.graph(tuple([t._index for t in leaves]))
    values = list(trace.input_values.values())
    trace.end()
    return graph, values


@settings(max_examples=40, deadline=None)
@given(random_programs.INSTRUCTIONS)
def test_random_programs(program: Any) -> None:
    """Value and gradients: bits where the rules that held keep them, else nearly; also at special values."""

    def f(x: Any, y: Any) -> Any:
        value, (gx, gy) = gl.value_and_grad(lambda *a: random_programs.run(program, *a), (0, 1))(x, y)
        return value, gx, gy

    graph, values = traced(f, random_programs.X, random_programs.Y)
    simpler = simplify(graph, check=True)
    assert len(simpler) <= len(graph)
    assert simpler.output_specs() == graph.output_specs()
    keeps_bits = exact(graph)
    for x in (random_programs.X, random_programs.X * 30.0, SPECIAL):
        with np.errstate(all="ignore"):
            before, after = (Program(g).run([x, *values[1:]]) for g in (graph, simpler))
        for a, b in zip(before, after, strict=True):
            if keeps_bits:
                assert agree(a, b, exact=True)
            else:
                np.testing.assert_allclose(b, a, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(random_programs.INSTRUCTIONS)
def test_random_second_order(program: Any) -> None:
    """Gradients of gradients."""

    def f(x: Any, y: Any) -> Any:
        slope = gl.grad(lambda x: random_programs.run(program, x, y))
        return gl.grad(lambda x: np.sum(slope(x) ** 2))(x)

    graph, values = traced(f, random_programs.X, random_programs.Y)
    simpler = simplify(graph)
    assert len(simpler) <= len(graph)
    (before,), (after,) = Program(graph).run(values), Program(simpler).run(values)
    np.testing.assert_allclose(after, before, rtol=1e-8, atol=1e-8 * max(1.0, float(np.max(np.abs(before)))))


# -- debug mode --------------------------------------------------------------------------------


def plus_zero(g: Any, op: Any, args: Any, attrs: Any, spec: Any, k: int) -> Any:
    """``x + 0.0 -> x``: wrong for -0.0."""
    return args[1 - k] if g.constant(args[k]) == 0 else None


def minus_itself(g: Any, op: Any, args: Any, attrs: Any, spec: Any, k: int) -> Any:
    """``x - x -> 0``: wrong for inf and NaN."""
    if args[0] != args[1]:
        return None
    return ops["broadcast_to"], (g.literal(0.0, spec.dtype),), (spec.shape,)


def sum_to_difference(g: Any, op: Any, args: Any, attrs: Any, spec: Any, k: int) -> Any:
    """Rewrite ``a + b -> a - b``: wrong."""
    return ops["subtract"], args, ()


@pytest.mark.parametrize(
    ("rule", "f"),
    [
        (Rule(plus_zero, "add", "literal"), lambda x: np.exp(x) * (x + 0.0)),
        (Rule(minus_itself, "subtract"), lambda x: np.sin(x) - np.sin(x)),
        (Rule(sum_to_difference, "add"), lambda x: np.exp(x) + x),
    ],
    ids=lambda v: v.apply.__name__ if isinstance(v, Rule) else "",
)
def test_a_broken_rule_is_named(rule: Rule, f: Any) -> None:
    """With the node and the user's line; without the debug mode it goes unseen."""
    graph = gl.make_graph(f)(X)
    rebuild(graph, Builder(rule_table([rule])))
    with pytest.raises(RewriteError) as caught:
        rebuild(graph, CheckingBuilder(rule_table([rule])))
    text = str(caught.value)
    assert f"the rule {rule.apply.__name__!r} changes the result of {rule.op}(float64[3], " in text
    assert f"{__file__}:{f.__code__.co_firstlineno}" in text


def test_a_broken_merge_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merged products are checked like rules."""
    concatenated = product_sums.concatenated

    def backward(g: Any, parts: list[int], axis: int) -> int:
        return concatenated(g, parts[::-1], axis)

    def first_only(g: Any, parts: list[int], axis: int) -> int:
        return concatenated(g, parts[:1] * len(parts), axis)

    def loop(w: Any, h: Any) -> Any:
        for _ in range(4):
            h = np.tanh(h @ w)
        return np.sum(h)

    w, h = np.random.default_rng(0).standard_normal((2, 4, 4))
    graph = gl.make_graph(gl.grad(loop))(w, h)
    assert names(simplify(graph, check=True)).count("concatenate") == 2
    monkeypatch.setattr(product_sums, "concatenated", backward)
    simplify(graph, check=True)  # another order is no mistake
    monkeypatch.setattr(product_sums, "concatenated", first_only)
    with pytest.raises(RewriteError, match="the rule 'MergedSum' changes the result of add") as caught:
        simplify(graph, check=True)
    assert f"{__file__}:{loop.__code__.co_firstlineno + 2}" in str(caught.value)


def test_special_values_have_every_kind() -> None:
    """Zeros of both signs, infinities, NaN, subnormal numbers and ties."""
    seen: set[str] = set()
    for values in special_values({0: Spec((5,), np.float32), 1: Spec((), np.float64), 2: Spec((3,), np.int64)}):
        assert [np.asarray(v).dtype for v in values.values()] == [np.float32, np.float64, np.int64]
        a = values[0]
        seen |= {"-0" for v in a if v == 0 and np.signbit(v)} | {"0" for v in a if v == 0 and not np.signbit(v)}
        seen |= {repr(float(v)) for v in a if not np.isfinite(v)}
        seen |= {"tiny" for v in a if 0 < abs(v) < np.finfo(np.float32).tiny}
        seen |= {"tie" for v in a if np.sum(a == v) > 1}
    assert seen == {"-0", "0", "inf", "-inf", "nan", "tiny", "tie"}


def test_agree() -> None:
    """The comparison itself: sign of zero, NaN, dtype, shape, rounding."""
    assert agree(np.nan, -np.nan, True)
    assert not agree(0.0, -0.0, True)
    assert not agree(0.0, -0.0, False)
    assert not agree(1.0, 1.0 + 1e-15, True)
    assert agree(1.0, 1.0 + 1e-15, False)
    assert not agree(1.0, 1.0 + 1e-9, False)
    assert not agree(np.inf, np.nan, False)
    assert not agree(np.inf, 1e300, False)
    assert not agree(np.float32(1), np.float64(1), True)
    assert not agree(np.ones(2), np.ones((2, 1)), True)
    assert agree(np.array([1 + 2j]), np.array([1 + 2j]), True)
