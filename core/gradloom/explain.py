"""`explain`: into which tasks a function is cut, what they take, and what more workers would gain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, final

from gradloom.blas import limited_to
from gradloom.calibration import rates
from gradloom.executor import SerialExecutor, executors
from gradloom.function import require_callable
from gradloom.jit import leaf_specs, trace_abstractly
from gradloom.plan import Plan
from gradloom.program import choose_backend, prepare
from gradloom.pytree import flatten
from gradloom.sharing import cores
from gradloom.source import Source
from gradloom.tasks import TASK_SECONDS, Task, best_cut, decide, makespan, step_costs

#: How often each step is measured; the best counts.
RUNS = 3


@final
@dataclass(frozen=True)
class TaskReport:
    """One task: its ops, the user's first line in it, and its times in seconds."""

    ops: tuple[str, ...]
    line: str
    after: tuple[int, ...]
    predicted: float
    measured: float
    critical: bool


@final
@dataclass(frozen=True)
class Explanation:
    """What `explain` found; it prints as a table.

    Attributes
    ----------
    tasks : tuple of TaskReport
    in_branches : bool
        Whether the schedulers run the tasks side by side on this machine.
    one_thread : bool
        Whether BLAS takes one thread a call.
    critical_path : float
        Seconds of the longest chain of tasks: no number of workers takes less.
    predicted, simulated : dict
        By number of workers: the estimated time of all tasks from their predicted times, and from those measured.
    serial, threads : float
        Seconds of a run by these schedulers; ``threads`` is NaN where it is not installed.
    """

    tasks: tuple[TaskReport, ...]
    in_branches: bool
    one_thread: bool
    critical_path: float
    predicted: dict[int, float]
    simulated: dict[int, float]
    serial: float
    threads: float

    def __str__(self) -> str:
        lines = ["task   predicted    measured  path  after     ops"]
        for n, task in enumerate(self.tasks):
            after = ",".join(map(str, task.after)) or "-"
            ops = ", ".join(task.ops[:5]) + (", ..." if len(task.ops) > 5 else "")
            mark = "*" if task.critical else ""
            times = f"{_milliseconds(task.predicted)}  {_milliseconds(task.measured)}"
            lines.append(f"{n:4}  {times}  {mark:4}  {after:8}  {ops}  {task.line}")
        one = self.simulated[1]
        lines.append(f"critical path (*): {_milliseconds(self.critical_path).strip()}")
        lines.append("workers   predicted   simulated  speed-up")
        for n, seconds in self.simulated.items():
            first = f"{n:7}  {_milliseconds(self.predicted[n])}  {_milliseconds(seconds)}"
            lines.append(f"{first}  {one / seconds if seconds else 1.0:7.2f}x")
        how = "side by side" if self.in_branches else "step by step"
        blas = ", with one thread of BLAS each" if self.one_thread else ""
        lines.append(f"schedulers run this {how}{blas}")
        lines.append(
            f"measured: serial {_milliseconds(self.serial).strip()}, threads {_milliseconds(self.threads).strip()}, "
            f"speed-up {self.serial / self.threads:.2f}x"
        )
        return "\n".join(lines)

    __repr__ = __str__


def explain(f: Callable[..., Any], *args: Any, workers: int | Iterable[int] = (1, 2, 4, 8, 16)) -> Explanation:
    """Run a function and tell how it is cut into tasks, and what they take.

    Parameters
    ----------
    f : callable
        A function of arrays and numbers (in containers), written with NumPy; its gradient, say.
    *args
        What to call it with.
    workers : int or iterable of int, default (1, 2, 4, 8, 16)
        For how many workers to simulate the run; for an int, its powers of two and itself.

    Returns
    -------
    Explanation
        Tasks, critical path, predicted and measured times; it prints as a table.

    Notes
    -----
    Each step is run alone, and the best of a few runs counts; then the whole by ``serial`` and by
    ``threads``. A simulated run hands each task to the first worker that is free, and takes no time for moving data.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> found = gl.explain(gl.grad(lambda x: np.sum(np.sin(x) ** 2)), np.ones(10))
    >>> len(found.tasks), found.in_branches
    (1, False)
    """
    require_callable("explain", f)
    leaves, structure = flatten((args, {}))
    compiled = trace_abstractly("explain", f, structure, leaf_specs("explain", structure, leaves), leaves)
    values = leaves + compiled.captured
    plan = compiled.program.plan(choose_backend(values))
    values = prepare(plan, values)
    decision = decide(plan)
    speed = rates()
    predicted = [cost.seconds(speed) for cost in step_costs(plan)]
    with limited_to(1 if decision.one_thread else None):
        measured = _measured(plan, values)
    tasks = best_cut(plan, predicted, cores())
    real = [Task(task.steps, task.after, sum([measured[k] for k in task.steps])) for task in tasks]
    path, critical = _critical_path(real)
    counts = _powers(workers) if isinstance(workers, int) else sorted({1, *workers})
    threads = executors.get("threads") if "threads" in executors.entries() else None
    usable = threads is not None and threads.unavailable() is None
    return Explanation(
        tuple([_report(plan, task, own, n in critical) for n, (task, own) in enumerate(zip(tasks, real, strict=True))]),
        decision.schedule is not None,
        decision.one_thread,
        path,
        {n: makespan(tasks, n, _overhead(tasks)) for n in counts},
        {n: makespan(real, n, _overhead(tasks)) for n in counts},
        _best(lambda: SerialExecutor().run(plan, values)),
        _best(lambda: threads.run(plan, values)) if usable and threads is not None else float("nan"),
    )


def _overhead(tasks: Sequence[Task]) -> float:
    return TASK_SECONDS if len(tasks) > 1 else 0.0


def _powers(most: int) -> list[int]:
    return sorted({1, most, *[2**k for k in range(most.bit_length()) if 2**k <= most]})


def _measured(plan: Plan, inputs: Sequence[Any]) -> list[float]:
    """Return the seconds that each step takes, alone."""
    best = [float("inf")] * len(plan.steps)
    for _ in range(RUNS):
        values = {**plan.constants, **dict(zip(plan.graph.inputs, inputs, strict=True))}
        for k, step in enumerate(plan.steps):
            start = time.perf_counter()
            plan.run_step(k, values)
            best[k] = min(best[k], time.perf_counter() - start)
            for i in step.drop:
                del values[i]
    return best


def _best(action: Callable[[], Any]) -> float:
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        action()
        times.append(time.perf_counter() - start)
    return min(times)


def _critical_path(tasks: Sequence[Task]) -> tuple[float, set[int]]:
    """Return the time of the longest chain of tasks, and which tasks are in it."""
    ends: dict[int, float] = {}
    before: dict[int, int | None] = {}
    waiting = list(range(len(tasks)))
    while waiting:
        later = []
        for t in waiting:
            if all(other in ends for other in tasks[t].after):
                before[t] = max(tasks[t].after, key=lambda other: ends[other], default=None)
                last = before[t]
                ends[t] = tasks[t].seconds + (0.0 if last is None else ends[last])
            else:
                later.append(t)
        waiting = later
    if not ends:
        return 0.0, set()
    at: int | None = max(ends, key=lambda t: ends[t])
    path, longest = set(), ends[at] if at is not None else 0.0
    while at is not None:
        path.add(at)
        at = before[at]
    return longest, path


def _report(plan: Plan, task: Task, real: Task, critical: bool) -> TaskReport:
    count = len(plan.graph.nodes)
    nodes = [plan.steps[k].out for k in task.steps if plan.steps[k].out < count]
    names = tuple(dict.fromkeys([plan.graph.nodes[i][0].name for i in nodes]))
    lines = [str(Source(*raw)) for i in nodes if (raw := plan.graph.sources[i]) is not None]
    return TaskReport(names, lines[0] if lines else "", task.after, task.seconds, real.seconds, critical)


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1e3:8.3f} ms"
