"""What a compiler begins with before a graph is simplified is what the graph needs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import ahead
from gradloom.backend import backends
from gradloom.graph import Graph
from gradloom.plan import Plan
from gradloom.program import _PREPARED
from gradloom.simplify import simplify
from gradloom.testing.sample import rng
from gradloom_llvm import jobs, product_code, products, tape
from gradloom_llvm.compiler import LLVMCompiler

#: What is compiled once for all programs.
SHARED = (
    tape._machine,
    product_code._library,
    product_code.multiply,
    product_code.multiply_together,
    products._product,
)


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], set[str]]:
    """Return a function that tells which modules of the tape and of products are asked for while something is done."""
    asked: set[str] = set()
    begin, code = product_code.begin, tape.code
    monkeypatch.setattr(jobs, "hand_out", lambda work: work() or True)  # what is begun is done at once
    monkeypatch.setattr(product_code, "begin", lambda ir, **how: asked.add(ir) or begin(ir, **how))
    monkeypatch.setattr(tape, "code", lambda ir: asked.add(ir) or code(ir))

    def during(work: Callable[[], object]) -> set[str]:
        for cached in SHARED:
            cached.cache_clear()
        asked.clear()
        work()
        return set(asked)

    return during


def dense(x: Any, w: Any) -> Any:
    return np.sum(np.tanh(x @ w))


@pytest.mark.parametrize(
    ("f", "shapes", "begun"),
    [
        (lambda x: np.sum(np.exp(x) * x - 1.0), [(7,)], 1),
        (lambda x: np.sum(np.maximum(x, 0.5) ** 2), [(7,)], 1),
        (dense, [(64, 48), (48, 80)], 1),
        (dense, [(300, 200), (200,)], 0),
        (dense, [(4, 4), (4, 2)], 1),
    ],
    ids=["tape", "all opcodes", "products", "loops", "product on the tape"],
)
def test_what_is_expected_is_needed(modules: Any, f: Any, shapes: list[tuple[int, ...]], begun: int) -> None:
    args = [rng(1).normal(size=shape) for shape in shapes]
    graph: Graph = gl.make_graph(gl.value_and_grad(f))(*args)
    compiler = LLVMCompiler()
    needed = modules(lambda: Plan(simplify(graph), backends.get("numpy"), compiler).run(args))
    expected = modules(lambda: compiler.expect(graph))
    assert len(expected) == begun
    assert expected <= needed


def test_a_first_call_expects_its_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs: list[Graph] = []
    monkeypatch.setattr(LLVMCompiler, "expect", lambda self, graph: graphs.append(graph))
    _PREPARED.clear()
    fast = gl.jit(lambda x: np.sum(np.sin(x)))
    fast(np.ones(5))
    assert [[op.name for op, inputs, _ in graph.nodes if inputs] for graph in graphs] == [["sin", "sum"]]
    fast(np.ones(5))
    ahead.wait()  # what it finds for other sizes expects the same
    assert set(graphs) == {graphs[0]}
