"""Explanation: what `explain` found, as tables and as a picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import final

from gradloom.observer import Span
from gradloom.svg import Drawing
from gradloom.timeline import Panel, Timeline

#: Rows of printed tables; the longest are shown.
ROWS = 30
#: What takes less says nothing of what cores do at once: to hand it to another one takes longer.
TELLING_SECONDS = 1e-3


@final
@dataclass(frozen=True)
class StepReport:
    """One step: its op (of a region also those in it), the user's line, and its times in seconds on one core."""

    op: str
    inner: str
    line: str
    predicted: float
    measured: float


@final
@dataclass(frozen=True)
class TaskReport:
    """One task: its steps, ops and the user's first line in it, and its times in seconds."""

    steps: tuple[int, ...]
    ops: tuple[str, ...]
    line: str
    after: tuple[int, ...]
    predicted: float
    measured: float
    critical: bool


@final
@dataclass(frozen=True)
class OpReport:
    """All steps of one op: how many, and their times in seconds."""

    op: str
    steps: int
    predicted: float
    measured: float

    @property
    def ratio(self) -> float:
        """How much longer it took than predicted."""
        return self.measured / self.predicted


@final
@dataclass(frozen=True)
class Explanation:
    """What `explain` found; it prints as tables, and ``save`` draws it.

    Attributes
    ----------
    scheduler : str
        What ran the function.
    lanes : int
        How many tasks that runs at once.
    tasks : tuple of TaskReport
        What it was cut into; where it runs step by step, what it could be cut into.
    ops : tuple of OpReport
        Predicted and measured times by op, those that take longest first.
    in_branches : bool
        Whether the scheduler runs tasks side by side.
    critical_path : float
        Seconds of the longest chain of tasks: no number of workers takes less.
    predicted, simulated : dict
        By number of workers: the estimated time from the cost model, and from the measured times of the steps.
    one_core, twice_at_once, serial, achieved : float
        Seconds of a run on one core, of two such runs at the same time, by ``serial`` (whose kernels may share
        large work out over the cores), and by the scheduler.
    spans, planned : tuple of Span
        Which steps ran where and when in a run by the scheduler, and in the simulated one on as many workers.
    """

    scheduler: str
    lanes: int
    tasks: tuple[TaskReport, ...]
    ops: tuple[OpReport, ...]
    in_branches: bool
    critical_path: float
    predicted: dict[int, float]
    simulated: dict[int, float]
    one_core: float
    twice_at_once: float
    serial: float
    achieved: float
    spans: tuple[Span, ...]
    planned: tuple[Span, ...]
    steps: tuple[StepReport, ...]

    @property
    def predicted_speedup(self) -> float:
        """By how much as many workers as the scheduler has are simulated to be faster than one core."""
        return _ratio(self.one_core, self.simulated[self.lanes])

    @property
    def capacity(self) -> float:
        """How many times the work of one core two of them did: what two workers of this machine can gain at most."""
        return 2.0 * _ratio(self.one_core, self.twice_at_once)

    @property
    def achieved_speedup(self) -> float:
        """By how much the scheduler was faster than one core."""
        return _ratio(self.one_core, self.achieved)

    def __str__(self) -> str:
        return "\n".join([*self._task_lines(), "", *self._op_lines(), "", *self._worker_lines(), "", self.summary()])

    __repr__ = __str__

    def summary(self) -> str:
        """Return what ran the function, and how fast, in three sentences."""
        how = f"{self.lanes} tasks at once" if self.in_branches else "step by step"
        cores = f"Two cores do {self.capacity:.2f} times the work of one."
        if self.one_core < TELLING_SECONDS:
            cores = "It takes too little time to tell what two cores do at once."
        return (
            f"{self.scheduler}, {how}: {_time(self.achieved)}; serial {_time(self.serial)}, one core "
            f"{_time(self.one_core)}. Speed-up over one core: {self.achieved_speedup:.2f}x, predicted with "
            f"{self.lanes} worker{'s' * (self.lanes > 1)}: {self.predicted_speedup:.2f}x. {cores}"
        )

    def timeline(self) -> Drawing:
        """Draw which task ran where and when: on one core, by the scheduler, and as simulated."""
        task_of = {k: n for n, task in enumerate(self.tasks) for k in task.steps}
        alone, start = [], 0.0
        for k, step in enumerate(self.steps):
            alone.append(Span((k,), start, start + step.measured, "one core"))
            start += step.measured
        count = len(self.tasks)
        panels = [
            Panel("on one core, step after step", alone),
            Panel(f"by {self.scheduler}, as it ran", self.spans),
            Panel(f"simulated, {self.lanes} worker{'s' * (self.lanes > 1)}", self.planned),
        ]

        def name(t: int) -> str:
            ops = self.tasks[t].ops
            return f"task {t} {', '.join(ops[:4])}{', ...' * (len(ops) > 4)}"

        def hover(span: Span) -> str:
            known = [self.steps[k] for k in span.steps]
            if len(known) > 1:
                lines = list(dict.fromkeys([step.line for step in known if step.line]))
                return "\n".join([f"{len(known)} steps", *lines[:8], *["..."] * (len(lines) > 8)])
            return f"{known[0].op}{known[0].inner}  {_time(span.end - span.start)}  {known[0].line}"

        critical = frozenset([n for n, task in enumerate(self.tasks) if task.critical])
        return Timeline(
            f"{count} task{'s' * (count > 1)}, {self.scheduler}",
            self.summary(),
            panels,
            # Views belong to each task that needs them; the others tell which.
            lambda span: next((task_of[k] for k in reversed(span.steps) if k in task_of), 0),
            critical,
            name,
            hover,
        ).drawing()

    def save(self, filename: str | os.PathLike[str]) -> None:
        """Save the timeline to a file whose name ends in ``.svg``."""
        self.timeline().save(filename)

    def _task_lines(self) -> list[str]:
        after = [",".join(map(str, t.after[:4])) + ",..." * (len(t.after) > 4) or "-" for t in self.tasks]
        wide = max([8, *map(len, after)])
        lines = [f"task   predicted    measured  path  {'after':{wide}}  ops"]
        longest = sorted(range(len(self.tasks)), key=lambda n: -self.tasks[n].measured)[:ROWS]
        for n in sorted(longest):
            task = self.tasks[n]
            ops = ", ".join(task.ops[:5]) + ", ..." * (len(task.ops) > 5)
            mark = "*" if task.critical else ""
            times = f"{_column(task.predicted)}  {_column(task.measured)}"
            lines.append(f"{n:4}  {times}  {mark:4}  {after[n]:{wide}}  {ops}  {task.line}")
        if len(self.tasks) > ROWS:
            lines.append(f"... and {len(self.tasks) - ROWS} shorter tasks")
        count = sum([task.critical for task in self.tasks])
        lines.append(f"critical path (*): {_time(self.critical_path)} in {count} task{'s' * (count > 1)}")
        return lines

    def _op_lines(self) -> list[str]:
        wide = max([len(report.op) for report in self.ops[:ROWS]], default=0)
        lines = [f"{'op':{wide}}  steps   predicted    measured  ratio"]
        for report in self.ops[:ROWS]:
            times = f"{_column(report.predicted)}  {_column(report.measured)}"
            lines.append(f"{report.op:{wide}}  {report.steps:5}  {times}  {report.ratio:5.2f}")
        return lines

    def _worker_lines(self) -> list[str]:
        lines = ["workers   predicted   simulated  speed-up"]
        for n, seconds in self.simulated.items():
            times = f"{n:7}  {_column(self.predicted[n])}  {_column(seconds)}"
            lines.append(f"{times}  {_ratio(self.simulated[1], seconds):7.2f}x")
        return lines


def _ratio(one: float, other: float) -> float:
    return one / other if other else 1.0


def _time(seconds: float) -> str:
    """Return a time in words."""
    factor, unit = (1.0, "s") if seconds >= 1.0 else (1e3, "ms") if seconds >= 1e-3 else (1e6, "us")
    return f"{seconds * factor:.3g} {unit}"


def _column(seconds: float) -> str:
    return f"{seconds * 1e3:8.3f} ms"
