"""Buffers: values that stay within a plan lie in one block, which the next run uses again."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends, foreign_kernels
from gradloom.buffers import MOST, Buffers, places_of
from gradloom.compiler import compilers
from gradloom.memory import LINE
from gradloom.op import define
from gradloom.plan import Plan
from gradloom.simplify import simplify
from gradloom.spec import Spec

rng = np.random.default_rng(5)
A, B = rng.normal(size=(2, 48, 64, 64))


def recurrent(a: Any, b: Any) -> Any:
    """Return the losses of a recurrence, whose states are joined for one product."""
    state, states = a[0], []
    for k in range(6):
        state = np.tanh(state @ b[0] + a[k])
        states.append(state)
    return np.sum((np.concatenate(states) @ b[1]) ** 2), state.T


def assigned(a: Any, b: Any) -> Any:
    """Return what is changed in place, and views of it."""
    x = np.tanh(a[0] @ b[0]) + 0.0
    y = np.concatenate([np.sin(x @ b[1]), np.cos(x @ b[2])])
    y[3:7] += x[3:7]
    x[1:9:4] = 7.0
    return x[:, ::-1], y.T, np.sum(x) + np.sum(y)


def gathered(a: Any, b: Any) -> Any:
    """Return the gradient of products of some rows, added up where they came from."""
    x = np.tanh(a[0] @ b[0])
    return gl.grad(lambda v: np.sum(np.exp(v[2:50] @ b[1])) + np.sum(np.exp(v[:40] @ b[2])))(x), np.exp(x @ b[0])


def stacked(a: Any, b: Any) -> Any:
    """Return pieces that are joined twice, joined with themselves, and along another axis."""
    x, y, z = [np.tanh(a[k] @ b[k]) for k in range(3)]
    once, again = np.concatenate([x, y]) @ b[3], np.concatenate([y, x]) @ b[4]
    return once, again, np.concatenate([z, z]) @ b[4], np.concatenate([x, y], axis=1) @ b[:2].reshape(128, 64)


def changed(a: Any, b: Any) -> Any:
    """Return what is changed in place, and pieces that are read after the whole is."""
    x, y = np.tanh(a[0] @ b[0]), np.tanh(a[1] @ b[1])
    whole = np.concatenate([x, y])
    whole[3:70] = 1.0
    alone = np.tanh(a[2] @ b[2])
    alone[3:7] = 1.0
    return x @ (np.cumsum(whole, 0) @ b[2]).T, np.cumsum(y, 0) @ x, alone


def viewed(a: Any, b: Any) -> Any:
    """Return what is read through a view after many others are written."""
    view = np.tanh(a[0] @ b[0])[::-1]
    y = np.sort(view) @ b[1]
    for k in range(6):
        y = np.tanh(y @ b[k])
    return np.cumsum(view, 1) @ y.T


PROGRAMS = [
    recurrent,
    assigned,
    gathered,
    stacked,
    changed,
    viewed,
    gl.value_and_grad(lambda a, b: recurrent(a, b)[0], (0, 1)),
]


def plan_of(f: Callable[..., Any], *args: Any) -> Plan:
    """Return the plan of a function of arrays, compiled."""
    return Plan(simplify(gl.make_graph(f)(*args)), backends.get("numpy"), compilers.get("llvm"))


def buffers(plan: Plan) -> Buffers:
    """Return the buffers of a plan."""
    found = places_of(plan.graph, plan.steps, plan.outputs, plan.backend)
    return Buffers(*found, plan.graph.specs, plan.backend)


@pytest.mark.parametrize("f", PROGRAMS)
def test_results_are_those_of_separate_memory(f: Callable[..., Any]) -> None:
    """The first run is interpreted, each value in memory of its own; later results are no part of a block."""
    plan = plan_of(f, A, B)
    expected = [np.copy(v) for v in plan.run([A, B])]
    assert buffers(plan).places.written
    results = [plan.run([A, B])]
    others = plan.run([B, A])
    results.append(plan.run([A, B]))
    for result in results:
        for got, want in zip(result, expected, strict=True):
            assert np.asarray(got).tobytes() == want.tobytes()
    for k, one in enumerate([*results[0], *others]):
        for other in [*results[0], *others][:k]:
            assert not np.shares_memory(one, other)


def test_two_values_that_live_at_once_share_nothing() -> None:
    """Each value keeps its bits from the step that writes it until the last that reads it, by reading all anew."""
    for f in PROGRAMS:
        plan = plan_of(f, A, B)
        own = buffers(plan)
        arrays = own.take()
        place = {i: arrays[n] for i, n in own.places.numbers.items()}
        read = {i: k for k, step in enumerate(plan.steps) for i in step.inputs}
        lives = [(k, read.get(i, k), place[i]) for k, ids in own.places.written.items() for i in ids]
        for n, (born, dies, array) in enumerate(lives):
            assert array.ctypes.data % array.itemsize == 0
            assert array.flags.c_contiguous
            for first, last, other in lives[:n]:
                assert dies < first or last < born or not np.shares_memory(array, other)


def test_pieces_of_a_concatenation_lie_side_by_side() -> None:
    """Joining them takes no step: they are written where the whole is read."""
    plan = plan_of(recurrent, A, B)
    plan.run([A, B])
    assert "concatenate" not in plan.compile().source
    # A piece has one place, whatever it is joined with; what is changed in place is a copy.
    assert [len(buffers(plan_of(f, A, B)).places.joined) for f in (recurrent, stacked, changed)] == [1, 1, 0]


def test_runs_at_once_have_blocks_of_their_own() -> None:
    """Threads that run one function at once get the results of each alone."""
    plan = plan_of(PROGRAMS[-1], A, B)
    inputs = [(A + k, B / (k + 1)) for k in range(4)]
    expected = [plan.run(given) for given in inputs]
    wrong: list[int] = []
    switches = sys.getswitchinterval()

    def repeat(k: int) -> None:
        for _ in range(25):
            same = [np.array_equal(got, want) for got, want in zip(plan.run(inputs[k]), expected[k], strict=True)]
            if not all(same):
                wrong.append(k)

    threads = [threading.Thread(target=repeat, args=(k,)) for k in range(4)]
    try:
        sys.setswitchinterval(1e-6)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switches)
    assert not wrong


def test_a_kernel_of_a_plugin_may_keep_what_it_is_given() -> None:
    """What it was given stays as it was."""
    kept: list[Any] = []

    def keep(x: Any) -> Any:
        kept.append((x, x.copy()))
        return x * 1.0

    op = define("kept_for_test", spec=lambda x: Spec(x.shape, x.dtype))
    foreign_kernels.add("numpy", op, keep, "a test")
    try:
        plan = plan_of(lambda a, b: np.tanh(op(np.tanh(a[0] @ b[0])) @ b[1]) @ b[2], A, B)
        for k in range(3):
            plan.run([A * k, B])
    finally:
        foreign_kernels.discard("numpy", op)
    assert len(kept) == 3
    for array, copy in kept:
        np.testing.assert_array_equal(array, copy)


def test_large_values_have_memory_of_their_own() -> None:
    """A block is bounded: of very many values only the smaller have a place."""

    def f(a: Any, b: Any) -> Any:
        small = [np.tanh(a[k % 48, :8, :8] @ b[0, :8, :8]) for k in range(3)]
        values = [np.tanh(a[k % 48] @ b[k % 7]) for k in range(MOST // 2**15 + 48)]
        return sum([np.sum(v @ v) for v in [*values, *small]])

    plan = plan_of(f, A, B)
    own = buffers(plan)
    assert 0 < own._size <= MOST
    assert all(offset % LINE == 0 for offset, _ in own._places)
    first, second = plan.run([A, B]), plan.run([A, B])
    np.testing.assert_array_equal(first, second)


def test_a_run_after_an_error_is_right() -> None:
    """What a run that failed was doing changes no other."""

    def f(a: Any, b: Any) -> Any:
        return np.linalg.inv(np.tanh(a[0] @ b[0])) @ np.tanh(a[1] @ b[1])

    plan = plan_of(f, A, B)
    (expected,) = plan.run([A, B])
    for _ in range(3):
        with pytest.raises(np.linalg.LinAlgError):
            plan.run([A * 0.0, B])
        np.testing.assert_array_equal(plan.run([A, B])[0], expected)


def test_a_new_size_takes_the_place_of_the_last() -> None:
    """A plan of another size frees a block of the last one, once; sizes that come in turns have one each."""
    plan = plan_of(PROGRAMS[0], A, B)
    found = places_of(plan.graph, plan.steps, plan.outputs, plan.backend)
    first, second = [Buffers(*found, plan.graph.specs, plan.backend) for _ in range(2)]
    taken = first.take()
    first.give(taken)
    assert len(first._idle) == 1
    second.give(second.take())
    assert len(first._idle) == 0
    assert len(second._idle) == 1
    for _ in range(3):
        first.give(first.take())
        second.give(second.take())
        assert len(first._idle) == len(second._idle) == 1
