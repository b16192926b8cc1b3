"""The threads executor: the law of executors, tasks without circles, and the decision not to cut."""

from __future__ import annotations

import gc
import os
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask
import numpy as np
import psutil
import pytest

import gradloom as gl
from gradloom.cost import node_cost
from gradloom.decision import decide
from gradloom.errors import BackendError
from gradloom.plan import Plan
from gradloom.tasks import Task, cut, cuts, dependencies, longest_path, makespan, step_costs, view_steps
from gradloom.testing.executors import ExecutorConformance, numpy_plan, random_graph
from gradloom_dask.threads import ThreadsExecutor, _Pool


class TestThreads(ExecutorConformance):
    scheduler = "threads"


class TestAlwaysInThreads(ExecutorConformance):
    scheduler = ThreadsExecutor(workers=3, always=True)


def two_branches(x: Any, w: Any) -> Any:
    """Two chains of products that meet at the end."""
    a, b = x, x.T
    for _ in range(4):
        a, b = np.tanh(a @ w), np.tanh(b @ w)
    return np.sum(a * b)


def tasks_of(plan: Plan) -> list[Task]:
    return cut(plan, [cost.seconds() for cost in step_costs(plan)])


@pytest.mark.parametrize("seed", range(30))
def test_tasks_keep_every_order(seed: int) -> None:
    """Every step but views is in one task; what it depends on stands before it there, or in a task that ends first."""
    plan = numpy_plan(random_graph(seed)[0])
    tasks = tasks_of(plan)
    views = view_steps(plan)
    others = [k for task in tasks for k in task.steps if k not in views]
    assert sorted(others) == sorted(set(range(len(plan.steps))) - views)
    makers = {k: {t for t, task in enumerate(tasks) if k in task.steps} for k in range(len(plan.steps))}
    needed = dependencies(plan)
    for t, task in enumerate(tasks):
        assert list(task.steps) == sorted(set(task.steps))
        for k in task.steps:
            for j in needed[k]:
                assert t in makers[j] or (j not in views and makers[j] <= set(task.after))
    ended: set[int] = set()
    while len(ended) < len(tasks):
        ready = {t for t, task in enumerate(tasks) if t not in ended and set(task.after) <= ended}
        assert ready, "tasks wait for each other in a circle"
        ended |= ready


def test_independent_branches_run_at_the_same_time() -> None:
    """Each of two branches waits for the other in a kernel: run one after the other they would never end."""
    meeting = threading.Barrier(2, timeout=20)
    x, w = np.ones((200, 200)), np.ones((200, 200)) / 200
    plan = numpy_plan(gl.make_graph(two_branches)(x, w))
    first = {task.steps[0] for task in tasks_of(plan) if len(task.steps) > 3}
    assert len(first) >= 2

    def meet(kernel: Any) -> Any:
        def wrapped(*args: Any, **attrs: Any) -> Any:
            meeting.wait()
            return kernel(*args, **attrs)

        return wrapped

    for k in sorted(first)[:2]:
        plan.steps[k] = plan.steps[k]._replace(kernel=meet(plan.steps[k].kernel))
    ThreadsExecutor(workers=2, always=True).run(plan, [x, w])
    assert meeting.n_waiting == 0
    assert not meeting.broken


@pytest.mark.parametrize("scheduler", ["threads", "auto"])
def test_gradient_has_the_bits_of_serial(scheduler: str) -> None:
    """Forward and backward of two branches of products; BLAS takes as many threads in each run."""
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(300, 300)), generator.normal(size=(300, 300)) / 20
    gradient = gl.jit(gl.value_and_grad(two_branches, argnums=(0, 1)))
    with gl.scheduler("serial"):
        value, grads = gradient(x, w)
    with gl.scheduler(scheduler):
        for _ in range(2):
            other, others = gradient(x, w)
            assert other == value
            for one, two in zip(grads, others, strict=True):
                np.testing.assert_array_equal(one, two)


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="cores are chosen on Linux alone")
def test_helpers_keep_off_the_core_that_gives_them_work() -> None:
    available = len(os.sched_getaffinity(0))
    pool = _Pool(available)
    for _ in range(2):
        pool.submit(int).result()
    kept_to = os.sched_getaffinity(pool._natives[0])
    pool.shutdown()
    assert available == 1 or len(kept_to) == available - 1


def called_in(plan: Plan, call: Callable[[], Any]) -> None:
    """Let a plan's kernels call something first, in the thread that they run in."""

    def calling(kernel: Any) -> Any:
        def wrapped(*args: Any, **attrs: Any) -> Any:
            call()
            return kernel(*args, **attrs)

        return wrapped

    kernels = plan._lowering.kernels
    kernels.update({kind: (calling(kernel), attrs) for kind, (kernel, attrs) in kernels.items()})
    plan._steps = None


def test_configuration_of_dask() -> None:
    """How many threads, whose pool, and all in the calling thread."""
    given: list[Any] = []

    class Mine(ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> Any:
            given.append(args)
            return super().submit(*args, **kwargs)

    x, w = np.ones((200, 200)), np.ones((200, 200)) / 200
    plan = numpy_plan(gl.make_graph(two_branches)(x, w))
    seen: set[int] = set()
    called_in(plan, lambda: seen.add(threading.get_ident()))
    executor = ThreadsExecutor(always=True)
    expected = executor.run(plan, [x, w])
    with dask.config.set(num_workers=5):
        assert executor.lanes() == 5
    with Mine(3) as pool, dask.config.set(pool=pool):
        assert executor.lanes() == 3
        assert executor.run(plan, [x, w]) == expected
        assert given
        for scheduler in ("sync", "synchronous", "single-threaded"):
            with dask.config.set(scheduler=scheduler):
                seen.clear()
                assert executor.run(plan, [x, w]) == expected
                assert seen == {threading.get_ident()}


def test_nested_runs_in_a_task() -> None:
    """A kernel that runs branches itself does so in its own thread, also where no other is free."""
    executor = ThreadsExecutor(workers=2, always=True)
    x, w = np.ones((20, 20)), np.ones((20, 20)) / 20
    inner, outer, plain = [numpy_plan(gl.make_graph(two_branches)(x, w)) for _ in range(3)]
    expected = executor.run(plain, [x, w])
    counts: Counter[int] = Counter()
    called_in(inner, lambda: counts.update([threading.get_ident()]))

    def nested() -> None:
        before = counts[threading.get_ident()]
        assert executor.run(inner, [x, w]) == expected
        assert counts[threading.get_ident()] == before + len(inner.steps)

    called_in(outer, nested)
    assert executor.run(outer, [x, w]) == expected
    assert len(counts) <= 2


def test_a_thousand_runs_are_flat() -> None:
    """Memory, files and threads of the process."""
    executor = ThreadsExecutor(workers=2, always=True)
    plan = numpy_plan(gl.make_graph(lambda x: (np.sum(np.sin(x)), np.cos(x) * 2.0))(np.ones(20_000)))
    assert len(executor.tasks(plan)) > 1
    this = psutil.Process()

    def usage() -> tuple[int, int, int]:
        gc.collect()
        return this.memory_info().rss >> 20, this.num_fds(), this.num_threads()

    for k in range(100):
        executor.run(plan, [np.full(20_000, float(k))])
    before = usage()
    for k in range(1000):
        executor.run(plan, [np.full(20_000, float(k))])
    for one, other, least in zip(before, usage(), (16, 1, 2), strict=True):  # the second helper may begin late
        assert other - one < least


def test_small_plans_run_serially() -> None:
    """Tasks would cost more than they save."""
    plan = numpy_plan(gl.make_graph(two_branches)(np.ones((3, 3)), np.ones((3, 3))))
    assert decide(plan).schedule is None


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("most", [3, 20_000])
def test_blas_threads_depend_on_the_graph_alone(monkeypatch: pytest.MonkeyPatch, cores: int, most: int) -> None:
    """Not on the number of cores, nor on whether the plan is too large to be cut: bits depend on it."""
    monkeypatch.setattr("gradloom.decision.cores", lambda: cores)
    monkeypatch.setattr("gradloom.decision.MAX_STEPS", most)
    x = np.ones((200, 200))
    assert decide(numpy_plan(gl.make_graph(two_branches)(x, x))).one_thread
    assert not decide(numpy_plan(gl.make_graph(two_branches)(x[:9, :9], x[:9, :9]))).one_thread


def test_large_branches_are_cut() -> None:
    plan = numpy_plan(gl.make_graph(two_branches)(np.ones((900, 900)), np.ones((900, 900))))
    assert 2 <= len(tasks_of(plan)) <= 6


def test_branches_that_part_late_are_cut() -> None:
    """After a common trunk, and backward from a common loss: neither waits for the other."""

    def trunk(x: Any, w: Any) -> Any:
        a = b = np.tanh(x @ w)
        for _ in range(4):
            a, b = np.tanh(a @ w), np.tanh(b @ w)
        return np.sum(a * b)

    graph = gl.make_graph(gl.value_and_grad(trunk, argnums=(0, 1)))(np.ones((900, 900)), np.ones((900, 900)))
    plan = numpy_plan(graph)
    tasks = tasks_of(plan)
    work = sum([task.seconds for task in tasks])
    # One product each of trunk, forward and backward, and the last one, cannot be shared.
    assert makespan(tasks, 2) < 0.62 * work


def test_makespan() -> None:
    """A fork of two equal tasks halves on two workers, a chain does not."""
    fork = [Task((0,), (), 1.0), Task((1,), (0,), 1.0), Task((2,), (0,), 1.0)]
    chain = [Task((0,), (), 1.0), Task((1,), (0,), 1.0), Task((2,), (1,), 1.0)]
    assert makespan(fork, 2) == pytest.approx(2.0, abs=0.01)
    assert makespan(fork, 1) == pytest.approx(3.0, abs=0.01)
    assert makespan(chain, 2) == pytest.approx(3.0, abs=0.01)


@pytest.mark.parametrize("seed", range(30))
def test_no_cut_beats_the_longest_path(seed: int) -> None:
    """It is a bound from below for all cuts and numbers of workers, and reached where nothing must wait for a task."""
    graph, _ = random_graph(seed)
    plan = numpy_plan(graph)
    seconds = list(np.random.default_rng(seed).exponential(size=len(plan.steps)))
    path = longest_path(plan, seconds)
    for tasks in cuts(plan, seconds, 0.1):
        for workers in (1, 2, 64):
            assert makespan(tasks, workers, 0.0) >= path * (1 - 1e-12)
    apart = [
        Task((k,), tuple(sorted(before)), 0.0 if k in view_steps(plan) else seconds[k])
        for k, before in enumerate(dependencies(plan))
    ]
    assert makespan(apart, len(apart), 0.0) == pytest.approx(path)


def test_cost_follows_the_axis_rule() -> None:
    """A product costs two flops for each combination of its axes; a view nothing."""
    graph = gl.make_graph(lambda a, b: np.sum(a @ b.T, axis=0))(np.ones((3, 5)), np.ones((7, 5)))
    by_op = {graph.nodes[i][0].name: node_cost(graph, i) for i in range(len(graph))}
    assert by_op["matmul"][:2] == (2 * 3 * 5 * 7, 8 * (3 * 5 + 5 * 7 + 3 * 7))
    assert by_op["sum"][:2] == (3 * 7, 8 * (3 * 7 + 7))
    assert by_op["transpose"][:2] == (0, 0)


def test_without_dask_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor is unavailable then, not broken."""
    monkeypatch.setattr("gradloom_dask.threads.installed", lambda name: name != "dask")
    with (
        pytest.raises(BackendError, match=r"cannot run here: dask not installed; pip install 'gradloom\[dask\]'"),
        gl.scheduler("threads"),
    ):
        pass
