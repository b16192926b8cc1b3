"""What a plan's straight line is found by for another size, it is by itself."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from tests.core.test_polymorphic import arguments, from_nothing, network, traced

import gradloom as gl
from gradloom import template
from gradloom.backend import backends
from gradloom.compiler import compiler_for
from gradloom.graph import Graph
from gradloom.plan import Plan
from gradloom.polymorphic import Polymorphic


def recurrent(x: Any, y: Any, w: Any, v: Any) -> Any:
    """Return a loss of states that are joined, of pieces of arrays, and of one that is written in place."""
    state, states = np.tanh(x @ w), []
    for k in range(4):
        state = np.tanh(state @ v + x[:, :1] * k)
        states.append(state)
    joined = np.concatenate(states) @ v
    joined[1:3] += 2.0
    return np.sum(joined**2) + np.sum(y[1:] * y[:-1]), joined.T


def planned(graph: Graph) -> Plan:
    """Return the plan of a graph that is arranged."""
    return Plan(graph, backends.get("numpy"), compiler_for("numpy"), arranged=True)


def blocks(plan: Plan) -> Any:
    """Return what a plan runs, but for the numbers of names, and where in a block its values are."""
    line = plan.compile()
    buffers = line._namespace["take"].__self__
    return re.sub(r"\b(c|\w+_)\d+\b", r"\1", line.source), buffers._places, buffers._size


PROGRAMS = [gl.value_and_grad(network, (2, 3)), gl.value_and_grad(recurrent, (0, 2, 3), has_aux=True)]
#: Small ones, where values share lines of memory; ones with larger products; ones whose values get no places.
SIZES = [(50, 7, 11), (51, 7, 11), (73, 9, 12), (60, 8, 13), (8, 5, 6), (400, 40, 50), (411, 41, 52), (3000, 30, 64)]


@pytest.mark.parametrize("f", PROGRAMS, ids=["network", "recurrent"])
def test_as_from_nothing(f: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, places and results are those of a plan that no other size has to do with; few texts are written."""
    written: list[Graph] = []
    original = template._text
    monkeypatch.setattr(template, "_text", lambda graph, *rest: written.append(graph) or original(graph, *rest))
    function = Polymorphic(from_nothing)
    for size in SIZES:
        values = arguments(*size)
        graph = traced(f, *values)
        plan, alone = planned(function(graph)), planned(from_nothing(graph))
        assert plan.graph.pattern is not None
        found = [plan.run(values) for _ in range(3)]
        written.clear()
        assert blocks(plan) == blocks(alone)
        assert written == [alone.graph]
        expected = alone.run(values)
        for results in found:
            for a, b in zip(results, expected, strict=True):
                np.testing.assert_array_equal(a, b)


def test_kernels_that_no_size_changes_are_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a second size, only kernels whose attrs hold sizes are asked for, regions and those of the compiler."""
    asked: list[str] = []
    backend = backends.get("numpy")
    original = type(backend).kernel
    monkeypatch.setattr(
        type(backend), "kernel", lambda self, op, attrs: asked.append(op.name) or original(self, op, attrs)
    )
    function = Polymorphic(from_nothing)
    counts = []
    for size in [(50, 7, 11), (51, 7, 11), (52, 7, 11)]:
        values = arguments(*size)
        graph = function(traced(PROGRAMS[1], *values))
        asked.clear()
        planned(graph)
        counts.append(list(asked))
    assert {"item", "transpose"} <= set(counts[0])
    assert set(counts[1]) == set(counts[2])
    assert not {"item", "transpose", "add"} & set(counts[1])


def test_kernels_that_need_nothing_of_what_changed_are_taken_over() -> None:
    """Only those are made anew that depend on the lengths that are others, whichever these are."""
    function = Polymorphic(from_nothing)
    latest: dict[int, Any] = {}
    taken = []
    for size in [(50, 7, 11), (53, 7, 11), (54, 7, 11), (54, 8, 11), (54, 8, 12), (59, 9, 13), (50, 7, 11)]:
        values = arguments(*size)
        graph = traced(PROGRAMS[1], *values)
        plan, alone = planned(function(graph)), planned(from_nothing(graph))
        kernels = plan._lowering.kernels
        common = plan._lowering.common or {}
        taken.append(sum([kernels[k] is latest.get(k) for k in kernels if k not in common]))
        latest = kernels
        for a, b in zip(plan.run(values), alone.run(values), strict=True):
            np.testing.assert_array_equal(a, b)
        for i in range(len(plan.graph)):
            assert plan.leaves_to_backend(i) == alone.leaves_to_backend(i)
    # With other samples, other features or another width some stay; where all are others none does.
    assert taken[0] == taken[5] == taken[6] == 0
    assert all(taken[1:5])


def test_the_first_run_of_another_size_is_straight(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of a pattern is interpreted, and written at its second run; then nothing is interpreted or written."""
    told: list[str] = []
    interpret, text = Plan._interpret, template._text
    monkeypatch.setattr(Plan, "_interpret", lambda *args: told.append("interpreted") or interpret(*args))
    monkeypatch.setattr(template, "_text", lambda *args: told.append("written") or text(*args))
    function = Polymorphic(from_nothing)
    for size in SIZES[:3]:
        values = arguments(*size)
        plan = planned(function(traced(PROGRAMS[0], *values)))
        plan.run(values)
        plan.run(values)
    assert told == ["interpreted", "written"]


def test_kernels_of_another_form_have_another_text() -> None:
    """A text serves kernels that are called in the same way, and where what has one name is one."""
    function = Polymorphic(from_nothing)
    values = arguments(*SIZES[0])
    plan = planned(function(traced(PROGRAMS[0], *values)))
    line = plan.compile()
    text, buffers = line._text, line._namespace["take"].__self__
    kernels = {**plan._lowering.kernels, template.COPY: (plan.backend.copy, {})}
    assert text.line(kernels, plan.constants, plan.backend, buffers) is not None
    assert text.line(kernels, {}, plan.backend, buffers) is None
    for kind, (kernel, attrs) in plan._lowering.kernels.items():
        if kind in text._forms:
            changed = {**kernels, kind: (kernel, {**attrs, "more": 1})}
            assert text.line(changed, plan.constants, plan.backend, buffers) is None
    shared = [name for name, _, _ in text._parts if [n for n, _, _ in text._parts].count(name) > 1]
    for name, kind, part in text._parts:
        if name in shared and part == "(kernel)":
            changed = {**kernels, kind: (lambda *arrays: arrays, kernels[kind][1])}
            assert text.line(changed, plan.constants, plan.backend, buffers) is None
