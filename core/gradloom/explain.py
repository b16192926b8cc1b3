"""`explain`: into which tasks a function is cut, what they take and where, and what more workers would gain."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from gradloom.blas import one_thread_each
from gradloom.calibration import correct, rates
from gradloom.context import current_executor
from gradloom.errors import ArgumentError
from gradloom.executor import AbstractExecutor, SerialExecutor
from gradloom.explanation import Explanation, OpReport, StepReport, TaskReport
from gradloom.function import require_callable
from gradloom.jit import leaf_specs, trace_abstractly
from gradloom.observer import OBSERVER, Span, run_observed
from gradloom.plan import Plan
from gradloom.program import choose_backend, prepare
from gradloom.pytree import flatten
from gradloom.regions import REGION
from gradloom.sharing import keep_off_this_core, kernel_threads
from gradloom.simulate import Cut, Link, choose_cuts, traffic, with_seconds
from gradloom.source import Source
from gradloom.tasks import Task, best_cut, step_costs

#: How often each run is measured; the best counts.
RUNS = 3
#: Steps that take less, on average for an op, tell nothing about its speed.
WORTH_CORRECTING = 20e-6


def explain(
    f: Callable[..., Any],
    *args: Any,
    workers: int | Iterable[int] = (1, 2, 4, 8, 16),
    bandwidth: float = float("inf"),
    latency: float = 0.0,
    filename: str | os.PathLike[str] | None = None,
    keep: bool = False,
) -> Explanation:
    """Run a function and tell how it is cut into tasks, what they take and where they run.

    Parameters
    ----------
    f : callable
        A function of arrays and numbers (in containers), written with NumPy; its gradient, say.
    *args
        What to call it with.
    workers : int or iterable of int, default (1, 2, 4, 8, 16)
        For how many workers to simulate the run; for an int, its powers of two and itself.
    bandwidth : float, default infinity
        Bytes a second between simulated workers.
    latency : float, default 0.0
        Seconds until a message between simulated workers arrives.
    filename : path, optional
        Where to save a picture of which task ran where, a name that ends in ``.svg``.
    keep : bool, default False
        Whether to keep in the calibration file how much longer each op took than predicted: estimates are
        corrected by it from then on.

    Returns
    -------
    Explanation
        Tasks, critical path, predicted and measured times; it prints as tables.

    Raises
    ------
    ArgumentError
        If an argument is out of range, or there is no file to keep corrections in.

    Notes
    -----
    What was compiled quickly is compiled well before anything is measured, except on workers of a cluster.
    Each step is run alone on one core, and the best of a few runs counts; then the whole on one core, twice at
    once on one core each, by ``serial``, and by the scheduler that `gradloom.scheduler` or `gradloom.cluster`
    chose. What ran where is noted in a further run; on a cluster, with the times that its workers measured.
    `gradloom.simulate.simulate` says what a simulated run counts. Workers without a ``latency`` are cores of this
    machine, which slow each other down as much as the two runs at once did.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> found = gl.explain(gl.grad(lambda x: np.sum(np.sin(x) ** 2)), np.ones(10))
    >>> len(found.tasks), found.in_branches
    (1, False)
    """
    require_callable("explain", f)
    counts = _powers(workers) if isinstance(workers, int) else sorted({1, *workers})
    _require("workers", "at least 1", min(counts) >= 1, workers)
    _require("bandwidth", "more than 0 bytes a second", bandwidth > 0.0, bandwidth)
    _require("latency", "0 seconds or more", 0.0 <= latency < float("inf"), latency)
    leaves, structure = flatten((args, {}))
    compiled = trace_abstractly("explain", f, structure, leaf_specs("explain", structure, leaves), leaves)
    values = leaves + compiled.captured
    plan = compiled.program.plan(choose_backend(values))
    values = prepare(plan, values)
    executor = current_executor()
    cut, lanes = list(executor.tasks(plan)), executor.lanes()
    speed = rates()
    costs = step_costs(plan)
    predicted = [cost.seconds(speed) for cost in costs]
    measured, (one_core, twice, serial, achieved) = _measured(plan, values, executor)
    tasks = cut if len(cut) > 1 else best_cut(plan, predicted, lanes)
    steps = tuple([_step(plan, k, *times) for k, times in enumerate(zip(predicted, measured, strict=True))])
    real = with_seconds(tasks, measured)
    path, critical = _critical_path(real)
    slowdown = max(1.0, twice / one_core) if not latency else 1.0
    link = Link(bandwidth, latency, slowdown=slowdown)
    choices = choose_cuts(plan, predicted, sorted({*counts, lanes}), link)
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


def _measured(plan: Plan, values: Sequence[Any], executor: AbstractExecutor) -> tuple[list[float], list[float]]:
    """Return the seconds of each step, and of the whole: the best of a few runs.

    The whole runs on one core, twice at once on one core each, by ``serial``, and by an executor.
    """
    best = [float("inf")] * len(plan.steps)
    whole = [float("inf")] * 4

    def note(span: Span) -> None:
        best[span.steps[0]] = min(best[span.steps[0]], span.end - span.start)

    runs: list[Callable[[], Any]] = [
        lambda: on_one_core(lambda: plan.run(values)),
        lambda: at_once(*[lambda: on_one_core(lambda: plan.run(values))] * 2),
        # What needs a worker's resource does not run by "serial".
        lambda: plan.run(values) if plan.resources else SerialExecutor().run(plan, values),
        lambda: executor.run(plan, values),
    ]
    for run in runs:  # what is compiled, started or sent at the first run does not count
        run()
    plan.finish()
    for _ in range(RUNS):
        on_one_core(lambda: run_observed(plan, values, (), note))
        for n, run in enumerate(runs):
            start = time.perf_counter()
            run()
            whole[n] = min(whole[n], time.perf_counter() - start)
    return best, whole


def on_one_core(run: Callable[[], Any]) -> None:
    """Run something whose kernels take one thread each."""
    token = kernel_threads.set(1)
    try:
        with one_thread_each():
            run()
    finally:
        kernel_threads.reset(token)


def at_once(here: Callable[[], Any], there: Callable[[], Any]) -> None:
    """Run something here, and at the same time something else in another thread, on another core."""
    other = threading.Thread(target=there)
    other.start()
    keep_off_this_core(other.native_id)
    here()
    other.join()


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
