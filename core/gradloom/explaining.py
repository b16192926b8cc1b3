"""Explaining: how a function is cut into tasks, measured and simulated, see `gradloom.explain`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradloom.calibration import correct, rates
from gradloom.context import current_executor
from gradloom.errors import ArgumentError
from gradloom.executor import AbstractExecutor, SerialExecutor
from gradloom.explanation import Explanation, OpReport, StepReport, TaskReport
from gradloom.function import require_callable
from gradloom.observer import OBSERVER, Span
from gradloom.plan import Plan
from gradloom.program import Program, choose_backend, prepare
from gradloom.pytree import flatten
from gradloom.regions import REGION
from gradloom.simulate import Cut, Link, choose_cuts, traffic, with_seconds
from gradloom.site import AbstractSite, ThisProcess, add_up, seconds_of
from gradloom.source import Source
from gradloom.tasks import Task, best_cut, step_costs
from gradloom.tracing import leaf_specs, trace_abstractly

#: How often each run is measured; the best counts.
RUNS = 3
#: Steps that take less, on average for an op, tell nothing about its speed.
WORTH_CORRECTING = 20e-6


def explained(
    f: Callable[..., Any],
    args: tuple[Any, ...],
    workers: int | Iterable[int],
    bandwidth: float | None,
    latency: float | None,
    filename: str | os.PathLike[str] | None,
    keep: bool,
) -> Explanation:
    """Return what `gradloom.explain` does, which says what the arguments are."""
    require_callable("explain", f)
    counts = _powers(workers) if isinstance(workers, int) else sorted({1, *workers})
    _require("workers", "at least 1", min(counts) >= 1, workers)
    _require("bandwidth", "more than 0 bytes a second", bandwidth is None or bandwidth > 0.0, bandwidth)
    _require("latency", "0 seconds or more", latency is None or 0.0 <= latency < float("inf"), latency)
    leaves, structure = flatten((args, {}))
    traced = trace_abstractly("explain", f, structure, leaf_specs("explain", structure, leaves), leaves)
    values = leaves + traced.captured
    plan = Program(traced.graph, eager=True).plan(choose_backend(values))
    values = prepare(plan, values)
    executor = current_executor()
    cut, lanes = list(executor.tasks(plan)), executor.lanes()
    speed = rates()
    costs = step_costs(plan)
    predicted = [cost.seconds(speed) for cost in costs]
    site = executor.site(plan, values) or ThisProcess(plan, values)
    measured, (one_core, twice, serial, achieved) = _measured(plan, values, executor, site)
    tasks = cut if len(cut) > 1 else best_cut(plan, predicted, lanes)
    steps = tuple([_step(plan, k, *times) for k, times in enumerate(zip(predicted, measured, strict=True))])
    real = with_seconds(tasks, measured)
    path, critical = _critical_path(real)
    given = bandwidth is not None or latency is not None
    link = Link(bandwidth or float("inf"), latency or 0.0) if given else site.link()
    if not latency:
        link = link._replace(slowdown=max(1.0, twice / one_core))
    choices = choose_cuts(plan, predicted, sorted({*counts, lanes}), link)
    if not given and len(cut) > 1:
        choices[lanes] = Cut(with_seconds(cut, predicted), traffic(plan, cut))
    found = Explanation(
        executor.name,
        lanes,
        tuple([_task(steps, task, n in critical) for n, task in enumerate(tasks)]),
        _ops(steps),
        len(cut) > 1,
        path,
        {n: chosen.run(n, link).seconds for n, chosen in choices.items()},
        {n: chosen.with_seconds(measured).run(n, link).seconds for n, chosen in choices.items()},
        one_core,
        twice,
        serial,
        achieved,
        tuple(_observed(executor, plan, values)),
        tuple(Cut(real, traffic(plan, real)).run(lanes, link).spans),
        steps,
    )
    if keep:
        known = {cost.op for cost in costs}  # views cost nothing
        worth = [r for r in found.ops if r.op in known and r.measured > WORTH_CORRECTING * r.steps]
        correct({report.op: report.ratio for report in worth})
    if filename is not None:
        found.save(filename)
    return found


def _require(argument: str, expected: str, fits: bool, got: Any) -> None:
    if not fits:
        raise ArgumentError(f"{argument} is out of range", op="explain", argument=argument, expected=expected, got=got)


def _powers(most: int) -> list[int]:
    return sorted({1, most, *[2**k for k in range(max(0, most).bit_length()) if 2**k <= most]})


def _measured(
    plan: Plan, values: Sequence[Any], executor: AbstractExecutor, site: AbstractSite
) -> tuple[list[float], list[float]]:
    """Return the seconds of each step, which add up to a run on one core, and of the whole: the best of a few runs.

    The whole runs on one core, twice at once on one core each, by ``serial``, and by an executor.
    """

    def serial() -> None:
        if plan.resources:  # what needs a worker's resource does not run by "serial"
            plan.run(values)
        else:
            SerialExecutor().run(plan, values)

    def times() -> tuple[list[float], list[float]]:
        one_core, steps = site.alone()
        return steps, [one_core, site.at_once(), seconds_of(serial), seconds_of(lambda: executor.run(plan, values))]

    times()  # what is compiled, started or sent at the first run does not count
    plan.finish()
    rounds = [times() for _ in range(RUNS)]
    steps, whole = [list(map(min, *each)) for each in zip(*rounds, strict=True)]
    return add_up(steps, whole[0]), whole


def _observed(executor: AbstractExecutor, plan: Plan, values: Sequence[Any]) -> list[Span]:
    """Return what ran where in one run."""
    found: list[Span] = []
    for _ in range(2):  # a cluster begins to take notes in the first
        found.clear()
        token = OBSERVER.set(found.append)
        try:
            executor.run(plan, values)
        finally:
            OBSERVER.reset(token)
    return found


def _critical_path(tasks: Sequence[Task]) -> tuple[float, set[int]]:
    """Return the time of the longest chain of tasks, and which tasks are in it."""
    followers: list[list[int]] = [[] for _ in tasks]
    for t, task in enumerate(tasks):
        for other in task.after:
            followers[other].append(t)
    waiting = [len(task.after) for task in tasks]
    ready = [t for t, n in enumerate(waiting) if not n]
    ends = [0.0] * len(tasks)
    before: list[int | None] = [None] * len(tasks)
    for t in ready:  # which grows meanwhile
        before[t] = max(tasks[t].after, key=lambda other: ends[other], default=None)
        last = before[t]
        ends[t] = tasks[t].seconds + (0.0 if last is None else ends[last])
        for other in followers[t]:
            waiting[other] -= 1
            if not waiting[other]:
                ready.append(other)
    at = max(range(len(tasks)), key=lambda t: ends[t], default=None)
    path, longest = set(), 0.0 if at is None else ends[at]
    while at is not None:
        path.add(at)
        at = before[at]
    return longest, path


def _step(plan: Plan, k: int, predicted: float, measured: float) -> StepReport:
    node = plan.steps[k].out
    if node >= len(plan.graph.nodes):
        return StepReport("copy", "", "", predicted, measured)
    raw = plan.graph.sources[node]
    op, _, attrs = plan.graph.nodes[node]
    inner = ""
    if op is REGION:
        inner = f" of {', '.join(dict.fromkeys([op.name for op, inputs, _ in attrs[0].nodes if inputs]))}"
    return StepReport(op.name, inner, "" if raw is None else str(Source(*raw)), predicted, measured)


def _task(steps: Sequence[StepReport], task: Task, critical: bool) -> TaskReport:
    own = [steps[k] for k in task.steps]
    ops = tuple(dict.fromkeys([step.op for step in own]))
    line = next((step.line for step in own if step.line), "")
    seconds = sum([step.predicted for step in own]), sum([step.measured for step in own])
    return TaskReport(task.steps, ops, line, task.after, *seconds, critical)


def _ops(steps: Sequence[StepReport]) -> tuple[OpReport, ...]:
    by_op: dict[str, list[StepReport]] = {}
    for step in steps:
        by_op.setdefault(step.op, []).append(step)
    reports = [
        OpReport(op, len(own), sum([s.predicted for s in own]), sum([s.measured for s in own]))
        for op, own in by_op.items()
    ]
    return tuple(sorted(reports, key=lambda report: -report.measured))
