"""Graphs of 100,000 tasks: cut and run in linear time and memory, without recursion."""

from __future__ import annotations

import itertools
import time
import tracemalloc
from typing import Any

import numpy as np
import pytest

from gradloom.backend import backends
from gradloom.executor import SerialExecutor
from gradloom.graph import INPUT, Graph
from gradloom.op import get_op
from gradloom.plan import Plan
from gradloom.schedule import Schedule
from gradloom.spec import Spec
from gradloom.tasks import cut
from gradloom_dask.threads import ThreadsExecutor

#: Bytes for each task that cutting a plan may take at its peak.
BYTES = 2048


def plan_of(kind: str, count: int) -> Plan:
    """Return a plan of about so many scalar steps."""
    spec = Spec((), np.dtype(float))
    nodes: list[Any] = [(INPUT, (), (spec,))]
    sin, add = get_op("sin"), get_op("add")

    def append(op: Any, *inputs: int) -> int:
        nodes.append((op, inputs, ()))
        return len(nodes) - 1

    last = 0
    outputs: tuple[int, ...]
    if kind == "wide":
        outputs = tuple([append(sin, 0) for _ in range(count)])
    elif kind == "chain":
        for _ in range(count):
            last = append(sin, last)
        outputs = (last,)
    elif kind == "diamonds":
        for _ in range(count // 3):
            last = append(add, append(sin, last), append(sin, last))
        outputs = (last,)
    else:
        level = [append(sin, 0) for _ in range(count // 2)]
        while len(level) > 1:
            pairs = itertools.zip_longest(level[::2], level[1::2])
            level = [a if b is None else append(add, a, b) for a, b in pairs]
        outputs = (level[0],)
    return Plan(Graph(tuple(nodes), (spec,) * len(nodes), (0,), outputs), backends.get("numpy"))


def cut_finely(plan: Plan) -> Schedule:
    """Return a schedule in which each step is worth a task."""
    return Schedule(plan, cut(plan, [1.0] * len(plan.steps)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wide", "chain", "diamonds", "fan-in"])
def test_a_hundred_thousand_tasks(kind: str) -> None:
    """Ten times the steps take about ten times as long to cut; threads give the value of serial."""
    plans = [plan_of(kind, count) for count in (10_000, 100_000)]
    seconds = []
    for plan in plans:
        plan.steps  # noqa: B018  (made at first use)
        start = time.process_time()
        schedule = cut_finely(plan)
        seconds.append(time.process_time() - start)
    assert seconds[1] < 50 * seconds[0], seconds  # a quadratic one takes 100 times as long
    executor = ThreadsExecutor(workers=2, always=True)
    executor._schedules[plan] = schedule
    x = [np.float64(0.5)]
    assert executor.run(plan, x) == SerialExecutor().run(plan, x)


@pytest.mark.parametrize(("kind", "tasks"), [("wide", 5_000), ("chain", 1), ("diamonds", 4_998), ("fan-in", 4_999)])
def test_memory_of_a_cut(kind: str, tasks: int) -> None:
    """At most 2 kB a step, however many tasks there are."""
    plan = plan_of(kind, 5_000)
    steps = len(plan.steps)
    tracemalloc.start()
    try:
        schedule = cut_finely(plan)
        assert tracemalloc.get_traced_memory()[1] < BYTES * steps
    finally:
        tracemalloc.stop()
    assert abs(len(schedule.tasks) - tasks) <= 2
