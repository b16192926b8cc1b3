"""Simulated runs of small graphs of tasks, against makespans worked out by hand."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.observer import Span
from gradloom.simulate import Link, Traffic, simulate, traffic
from gradloom.tasks import Task, makespan
from gradloom.testing.executors import numpy_plan


def task(n: int, seconds: float, *after: int) -> Task:
    return Task((n,), after, seconds)


#: Workers that share memory, and are given tasks in no time.
FREE = Link(task_seconds=0.0)
CHAIN = [task(0, 1.0), task(1, 2.0, 0), task(2, 3.0, 1)]
WIDE = [task(n, 1.0) for n in range(5)]
#: 0 before 1 and 2, both before 3.
DIAMOND = [task(0, 1.0), task(1, 5.0, 0), task(2, 2.0, 0), task(3, 1.0, 1, 2)]
#: Two branches of two tasks, and what joins them.
BRANCHES = [task(0, 2.0), task(1, 3.0), task(2, 2.0, 0), task(3, 3.0, 1), task(4, 1.0, 2, 3)]


@pytest.mark.parametrize(
    ("tasks", "workers", "seconds"),
    [
        ([], 3, 0.0),
        (CHAIN, 1, 6.0),
        (CHAIN, 4, 6.0),
        (WIDE, 1, 5.0),
        (WIDE, 2, 3.0),
        (WIDE, 4, 2.0),
        (WIDE, 1024, 1.0),
        (DIAMOND, 1, 9.0),
        (DIAMOND, 2, 7.0),
        (BRANCHES, 1, 11.0),
        (BRANCHES, 2, 7.0),
    ],
)
def test_shared_memory(tasks: list[Task], workers: int, seconds: float) -> None:
    found = simulate(tasks, workers, link=FREE)
    assert found.seconds == seconds
    assert makespan(tasks, workers, 0.0) == seconds
    assert_possible(tasks, workers, found.spans)


def test_what_a_task_costs_besides() -> None:
    assert simulate(CHAIN, 1, link=Link(task_seconds=0.5)).seconds == 7.5
    assert simulate(WIDE, 2, link=Link(task_seconds=0.5)).seconds == 4.5


def test_latency() -> None:
    """One message before the start, one between each two tasks of a chain, one at the end."""
    link = Link(latency=0.25, task_seconds=0.0)
    assert simulate(CHAIN, 1, link=link).seconds == 6.0 + 4 * 0.25
    # A value that comes from another worker takes one more: task 3 takes what task 2 made elsewhere, and a
    # worker asks for it when it is given the task.
    moved = Traffic([{}, {0: 0}, {0: 0}, {1: 0, 2: 0}], [0, 0, 0, 0])
    assert simulate(DIAMOND, 2, moved, link).seconds == 7.0 + 5 * 0.25
    # Here task 2 ends last, for its worker had to ask for a value as well.
    even = [task(0, 1.0), task(1, 2.0, 0), task(2, 2.0, 0), task(3, 1.0, 1, 2)]
    assert simulate(even, 2, moved, link).seconds == 4.0 + 4 * 0.25 + 2 * 0.25


def test_bandwidth() -> None:
    """Values arrive at a worker one after the other; a task goes where most of its inputs are."""
    link = Link(10.0, task_seconds=0.0)
    fan_in = [task(0, 1.0), task(1, 1.0), task(2, 1.0), task(3, 1.0, 0, 1, 2)]
    moved = Traffic([{}, {}, {}, {0: 100, 1: 20, 2: 30}], [0, 0, 0, 40])
    found = simulate(fan_in, 3, moved, link)
    # 50 bytes go to the worker that has 100; then 40 to the caller.
    assert found.seconds == 1.0 + 5.0 + 1.0 + 4.0
    assert [span.lane for span in found.spans if span.steps == (3,)] == ["worker 1"] * 2  # it fetches, and runs
    assert_possible(fan_in, 3, found.spans)


def test_what_a_value_takes_besides_its_bytes() -> None:
    """Whoever takes values takes one after the other: the last task two from elsewhere, the caller two."""
    link = FREE._replace(value_seconds=0.5)
    fan_in = [task(0, 1.0), task(1, 1.0), task(2, 1.0), task(3, 1.0, 0, 1, 2)]
    moved = Traffic([{}, {}, {}, {0: 8, 1: 8, 2: 8}], [100, 0, 0, 8])
    assert simulate(fan_in, 3, moved, link).seconds == 1.0 + 2 * 0.5 + 1.0 + 2 * 0.5
    assert simulate(fan_in, 1, moved, link).seconds == 4.0 + 2 * 0.5


def test_what_a_task_takes_its_caller() -> None:
    """Each task, and each part of values that travels alone, before any starts; a part also time of its worker."""
    link = FREE._replace(caller_seconds=0.25)
    assert simulate(WIDE, 2, link=link).seconds == simulate(WIDE, 2, link=FREE).seconds + 0.25 * len(WIDE)
    moved = Traffic([{}, {0: 0}, {1: 0}], [0, 0, 0], parts=[2, 0, 1])
    assert simulate(CHAIN, 1, moved, link._replace(bandwidth=1.0)).seconds == 6.0 + 0.25 * 6
    assert simulate(CHAIN, 1, moved, FREE._replace(bandwidth=1.0, task_seconds=0.5)).seconds == 6.0 + 0.5 * 6
    assert simulate(CHAIN, 1, moved, link).seconds == 6.0 + 0.25 * 3  # in shared memory nothing travels


def test_a_value_travels_once_to_a_worker() -> None:
    """Two tasks on the second worker take the same value; moving it takes longer than a task."""
    tasks = [task(0, 1.0), *[task(n, 10.0, 0) for n in range(1, 5)]]
    moved = Traffic([{}, *[{0: 10}] * 4], [0] * 5)
    found = simulate(tasks, 2, moved, Link(10.0, task_seconds=0.0))
    assert found.seconds == 22.0
    assert sum([span.moving for span in found.spans]) == 1


def test_a_slow_link_keeps_tasks_together() -> None:
    """Where moving a value takes longer than the work, more workers gain nothing, and lose nothing."""
    moved = Traffic([{}, {0: 1000}, {0: 1000}, {1: 1, 2: 1}], [0] * 4)
    assert simulate(DIAMOND, 8, moved, Link(10.0, task_seconds=0.0)).seconds == 9.0


def test_hashing_at_the_beginning() -> None:
    """The caller hashes what it gives before anything starts."""
    moved = Traffic([{}, {0: 0}, {1: 0}], [0, 0, 30], inputs=20)
    assert simulate(CHAIN, 1, moved, FREE._replace(hashing=10.0)).seconds == 2.0 + 6.0


def test_cores_that_slow_each_other_down() -> None:
    """While two tasks of a diamond run side by side, for 2 s, each is half as fast; before and after it is not."""
    found = simulate(DIAMOND, 2, link=FREE._replace(slowdown=2.0))
    assert found.seconds == 1.0 + 2.0 * 2.0 + 3.0 + 1.0
    runs = {span.steps: (span.start, span.end) for span in found.spans}
    assert runs == {(0,): (0.0, 1.0), (1,): (1.0, 8.0), (2,): (1.0, 5.0), (3,): (8.0, 9.0)}
    assert simulate(CHAIN, 2, link=FREE._replace(slowdown=2.0)).seconds == 6.0


def test_traffic_of_a_plan() -> None:
    """Two branches of a plan hand a number each to the last task, and that hands two outputs to the caller."""

    def f(x: Any) -> Any:
        a = np.sum(np.sin(x))
        b = np.tanh(x)
        return a + np.sum(b), b

    plan = numpy_plan(gl.make_graph(f)(np.ones(100)))
    names = [plan.graph.nodes[step.out][0].name for step in plan.steps]
    first = [k for k, name in enumerate(names) if name == "sin"] + [names.index("sum")]
    rest = [k for k in range(len(names)) if k not in first]
    moved = traffic(plan, [Task(tuple(first), (), 1.0), Task(tuple(rest), (0,), 1.0)])
    assert moved.between == [{}, {0: 8}]
    assert moved.results == [0, 808]
    assert moved.inputs == 800


@pytest.mark.parametrize(("n", "whole"), [(1_000, True), (600_000, False)])
def test_values_of_a_task_travel_together(n: int, whole: bool) -> None:
    """A task makes a number for another and an array for the caller: where that is small, both travel each time."""
    plan = numpy_plan(gl.make_graph(lambda x: (np.sin(x), np.sqrt(np.sum(x))))(np.ones(n)))
    names = [plan.graph.nodes[step.out][0].name for step in plan.steps]
    last = names.index("sqrt")
    first = tuple([k for k in range(len(names)) if k != last])
    moved = traffic(plan, [Task(first, (), 1.0), Task((last,), (0,), 1.0)])
    both = 8 * n + 8
    assert moved.between == [{}, {0: both if whole else 8}]
    assert moved.results == [both, 8]


@pytest.mark.parametrize("seed", range(10))
def test_random_graphs_keep_every_order(seed: int) -> None:
    """Nothing starts before what it needs, no worker runs two tasks at once, and no bound is beaten."""
    r = np.random.default_rng(seed)
    tasks = [
        task(n, float(r.uniform(0.1, 1.0)), *sorted({int(k) for k in r.integers(0, n, size=int(r.integers(0, 3)))}))
        if n
        else task(0, 1.0)
        for n in range(60)
    ]
    moved = Traffic([{k: int(r.integers(1, 100)) for k in t.after} for t in tasks], [1] * 60)
    work = sum([t.seconds for t in tasks])
    for workers in (1, 3, 50):
        for link in (FREE, Link(bandwidth=200.0, latency=0.05, task_seconds=0.0)):
            found = simulate(tasks, workers, moved, link)
            assert_possible(tasks, workers, found.spans, link.latency)
            assert work / workers <= found.seconds + 1e-9
            assert found == simulate(tasks, workers, moved, link)
    assert simulate(tasks, 1, moved, link=FREE).seconds == pytest.approx(work)


def assert_possible(tasks: list[Task], workers: int, spans: list[Span], latency: float = 0.0) -> None:
    """Each task runs once, after what it needs; each lane runs one at a time."""
    runs = {span.steps[0]: span for span in spans if not span.moving}
    assert len(runs) == len(tasks)
    for n, t in enumerate(tasks):
        assert runs[n].end - runs[n].start >= t.seconds - 1e-9
        assert all(runs[n].start >= runs[other].end + latency - 1e-9 for other in t.after)
    lanes = sorted({span.lane for span in runs.values()})
    assert len(lanes) <= workers
    for lane in lanes:
        own = sorted([(span.start, span.end) for span in runs.values() if span.lane == lane])
        assert all(one[1] <= other[0] + 1e-9 for one, other in pairwise(own))
