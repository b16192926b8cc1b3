"""Tiers: quick code at first, better code when it pays, and the same bits from both."""

from __future__ import annotations

import gc
import importlib
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import sharing
from gradloom.graph import Graph
from gradloom.testing.compilers import threads_of_kernels
from gradloom.testing.sample import rng
from gradloom_llvm import engine, invoke, native, tape, tiers
from gradloom_llvm.jobs import Job
from gradloom_llvm.kernel import Kernel
from gradloom_llvm.tape_kernel import TapeKernel
from gradloom_llvm.team import team


@pytest.fixture(autouse=True)
def levels(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let better code pay after the first run, and note how what is asked for is compiled."""
    noted: list[int] = []
    tiers._turn.after_fork()  # which holds the code that had the last turn
    tape.function.cache_clear()
    tape._machine.cache_clear()
    gc.collect()
    original = native.compiled

    def compiled(ir: str, target: Any, level: int, **options: Any) -> bytes:
        noted.append(level)
        return original(ir, target, level, **options)

    monkeypatch.setattr(native, "compiled", compiled)
    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 1e-12)
    return noted


def rows(x: Any, w: Any) -> Any:
    """Return sums, transcendental functions, a product with a vector."""
    z = np.tanh(x @ w) - np.log1p(np.sum(np.exp(-(x**2)), axis=1))
    return np.sum(z), np.max(z), np.sum(x * np.sum(x, axis=0), axis=0), np.sin(x)


def numbers(v: Any) -> Any:
    """Return what goes to the tape."""
    return np.sum(np.exp(np.sin(v)) * v), v / (1.0 + v**2)


def loops_and_tape() -> list[tuple[Callable[[Graph], Any], Callable[..., Any], list[Any]]]:
    """Return kernels, functions and arguments."""
    x = rng(1).normal(size=(3000, 7))
    x[5, 0], x[6, 1], x[7, 2], x[8, 3] = np.nan, np.inf, -np.inf, -0.0
    return [
        (Kernel, rows, [x, x[0] * 0.0 + 0.5]),
        (Kernel, rows, [np.asfortranarray(x), x[0] * 0.0 + 0.5]),
        (TapeKernel, numbers, [np.array([0.5, -0.0, np.inf, -3.0, np.nan])]),
    ]


def bits(results: Any) -> list[bytes]:
    """Return the bits of arrays."""
    return [np.asarray(one).tobytes() for one in results]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("case", range(3))
def test_both_tiers_give_the_same_bits(case: int, threads: int, levels: list[int]) -> None:
    make, f, args = loops_and_tape()[case]
    with threads_of_kernels(threads):
        made = make(gl.make_graph(f)(*args))
        function = made.function()
        assert 1 not in levels
        first = bits(function(*args))
        deadline = time.monotonic() + 60
        while 1 not in levels or (tiers._turn._job is not None and not tiers._turn._job.done):
            assert bits(function(*args)) == first
            assert time.monotonic() < deadline
        for _ in range(5):
            assert bits(function(*args)) == first


def cell(function: Any, name: str) -> Any:
    """Return what holds a variable that a kernel's function goes by."""
    return dict(zip(function.__code__.co_freevars, function.__closure__, strict=True))[name]


def test_what_is_compiled_well_is_called_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The direct way is closed for quick code, so that its runs are counted, and open for what is final."""
    x = rng(1).normal(size=50)
    function = Kernel(gl.make_graph(lambda x: np.exp(x) * 1.25)(x)).function()
    with threads_of_kernels(1):
        function(x)
        assert cell(function, "record").cell_contents is None  # one run may be all, and needs no such way
        function(x)
        assert cell(function, "record").cell_contents is not None
    monkeypatch.setattr(cell(function, "otherwise"), "cell_contents", None)
    np.testing.assert_allclose(function(x), np.exp(x) * 1.25, rtol=1e-15)


def test_what_runs_often_is_compiled_well_however_short_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 10 * tiers.LEAST_SECONDS)
    x = rng(1).normal(size=3)
    kernel: Any = Kernel(gl.make_graph(lambda x: np.exp(x) * 2.25)(x))
    function, code = kernel.function(), kernel._plain._code
    most = 10 * code._ir.count("\n") + 1
    with threads_of_kernels(1):
        for _ in range(most):
            function(x)
    assert code.final


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_are_called_directly(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """By one builtin, also where the workspace of all is large; what does not fit it goes the other way."""
    monkeypatch.setattr(sharing, "cores", lambda: 4)
    x = rng(1).normal(size=(700, 300)).astype(np.float32)

    def f(x: Any) -> Any:
        y = np.tanh(x) * 1.75
        return y - np.sum(y, 0), np.sum(y)

    kernel: Any = Kernel(gl.make_graph(f)(x))
    function = kernel.function()
    assert kernel._plain.threaded
    with threads_of_kernels(1):
        first = bits(function(x))
        assert bits(function(x)) == first
    with threads_of_kernels(threads):
        record = cell(function, "record").cell_contents
        assert record is not None
        assert bits(function(x.astype(np.float64))) == first
        monkeypatch.setattr(cell(function, "otherwise"), "cell_contents", None)
        assert bits(function(x)) == first
        out = [np.empty_like(x), np.empty((), np.float32)]
        together: Any = cell(function, "together").cell_contents
        mailbox, room = team.mailbox(2), np.empty(16, np.uint8)
        for arguments in ((), (record, mailbox, 2, room, x, *out), (record, mailbox, -1, room, x, *out)):
            with pytest.raises(TypeError):
                together(*arguments)
        with pytest.raises(TypeError):
            together(record, mailbox, "2", kernel._plain.workspace(2), x, *out)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_first_run_needs_no_team(threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads of Python share it; the code of the team may be needed never again."""
    x = rng(1).normal(size=(3000, 300))

    def f(x: Any) -> Any:
        y = np.exp(x - np.max(x))
        return y / np.sum(y), np.sum(y * x, 0)

    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 1e3)
    monkeypatch.setattr("gradloom_llvm.team.CODE", None)
    kernel: Any = Kernel(gl.make_graph(f)(x))
    assert kernel._plain.threaded
    function = kernel.function()
    with threads_of_kernels(threads):
        found = function(x)
    with threads_of_kernels(1):
        assert bits(found) == bits(function(x))
    for value, expected in zip(found, f(x), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("case", range(3))
def test_kernels_run_before_the_builtin_that_calls_them_is_compiled(case: int, monkeypatch: pytest.MonkeyPatch) -> None:
    make, f, args = loops_and_tape()[case]
    waiting = Job(invoke._make)
    elsewhere = SimpleNamespace(done=False, begin=lambda: True, result=waiting.result)
    monkeypatch.setattr(invoke, "INVOKE", elsewhere)
    with threads_of_kernels(1):
        function = make(gl.make_graph(f)(*args)).function()
        first = bits(function(*args))
        assert not waiting.done
        elsewhere.done = True
        for _ in range(3):
            assert bits(function(*args)) == first
    assert waiting.done


def test_code_that_is_known_is_taken_at_once(levels: list[int]) -> None:
    """From memory, and from disk: neither is compiled again, nor does quick code run."""
    x = rng(1).normal(size=50)
    graph = gl.make_graph(lambda x: np.exp(x) * 1.5)(x)
    with threads_of_kernels(1):
        Kernel(graph).function()(x)
        assert 1 in levels
        levels.clear()
        known: Any = Kernel(graph)
        assert known._plain._code.final
        engine._recent.clear()
        function = Kernel(graph).function()
    np.testing.assert_allclose(function(x), np.exp(x) * 1.5, rtol=1e-15)
    assert levels == []


@pytest.mark.parametrize("case", range(3))
def test_explain_measures_what_is_compiled_well(case: int, levels: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its few runs would not earn that: it waits, for all layouts."""
    _, f, args = loops_and_tape()[case]
    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 1e3)
    measured_with: list[int] = []
    module: Any = importlib.import_module("gradloom.site")
    original = module.run_observed

    def run_observed(*arguments: Any) -> Any:
        measured_with.append(levels.count(1))
        return original(*arguments)

    monkeypatch.setattr(module, "run_observed", run_observed)
    gl.explain(f, *args, workers=1)
    _, *counted = measured_with  # the first run warms up
    assert counted[0] >= 1
    assert len(set(counted)) == 1
    assert all(code.final for code in list(tiers._codes.values()))


def test_quick_code_goes_on_where_there_is_no_better(monkeypatch: pytest.MonkeyPatch) -> None:
    x = rng(1).normal(size=50)
    function = Kernel(gl.make_graph(lambda x: np.exp(x) * 1.75)(x)).function()

    def fails(ir: str, better: Any) -> Any:
        raise engine.CompileError("no")

    monkeypatch.setattr(tiers, "load", fails)
    with threads_of_kernels(1), pytest.warns(RuntimeWarning, match="cannot be compiled well: no"):
        function(x)
    for _ in range(3):
        np.testing.assert_allclose(function(x), np.exp(x) * 1.75, rtol=1e-15)


def test_one_module_at_a_time_is_compiled_well() -> None:
    """What another thread works on ends before the next begins."""
    turn = tiers._Turn()
    first, second = tiers.Job(lambda: None), tiers.Job(lambda: None)
    assert turn.take(first)  # type: ignore[arg-type]
    assert not turn.take(second)  # type: ignore[arg-type]
    first.result()
    assert turn.take(second)  # type: ignore[arg-type]
