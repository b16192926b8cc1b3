"""Schedule: the tasks of a plan and what passes between them; executors hand them to threads or workers."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, final

from gradloom.agenda import Agenda, longest_ways
from gradloom.observer import Observer, here
from gradloom.plan import Plan
from gradloom.source import RawSource
from gradloom.tasks import Task, followers_of


@final
class Schedule:
    """The tasks of a plan, and which values pass from one to another.

    Attributes
    ----------
    tasks : sequence of Task
    imports, exports : list of tuple of int
        For each task, the values it takes from inputs, constants and other tasks, and those it
        gives to other tasks or out of the plan.
    readers : dict
        For each value that passes between tasks, how many tasks take it.
    followers : list of list of int
        For each task, those that wait for it.
    drops : list of list of tuple of int
        For each task, and each of its steps, the values that the task does not need any more.
    seconds, ways : list of float
        What each task is estimated to take, alone and with all that must follow it; see `gradloom.agenda`.
    """

    def __init__(self, plan: Plan, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self.imports: list[tuple[int, ...]] = []
        self.exports: list[tuple[int, ...]] = []
        self.readers: dict[int, int] = {}
        made = [{plan.steps[k].out for k in task.steps} for task in tasks]
        used = [{i for k in task.steps for i in plan.steps[k].inputs} for task in tasks]
        kept = {*plan.outputs, *plan.constants, *plan.graph.inputs}
        for own, read in zip(made, used, strict=True):
            self.imports.append(tuple(sorted(read - own)))
            for i in read - own - kept:
                self.readers[i] = self.readers.get(i, 0) + 1
        for own in made:
            self.exports.append(tuple(sorted(i for i in own if i in self.readers or i in kept)))
        self.followers = followers_of(tasks)
        self.seconds = [task.seconds for task in tasks]
        self.ways = longest_ways(self.seconds, self.followers)
        self.drops = [self._local_drops(plan, t) for t in range(len(tasks))]

    def agenda(self, workers: int) -> Agenda:
        """Return an agenda for one run, with the tasks that wait for nothing."""
        found = Agenda(self.seconds, self.ways, workers)
        for t, task in enumerate(self.tasks):
            if not task.after:
                found.add(t)
        return found

    def _local_drops(self, plan: Plan, t: int) -> list[tuple[int, ...]]:
        """Return, for each step of a task, the values that the task does not need after it."""
        steps = self.tasks[t].steps
        last = {i: n for n, k in enumerate(steps) for i in plan.steps[k].inputs}
        drops: list[list[int]] = [[] for _ in steps]
        for i, n in last.items():
            if i not in self.exports[t]:
                drops[n].append(i)
        return [tuple(drop) for drop in drops]

    def run_task(
        self,
        plan: Plan,
        t: int,
        values: Mapping[int, Any],
        failures: Failures,
        sources: Sequence[RawSource | None] = (),
        owned: bool = True,
        observer: Observer | None = None,
    ) -> dict[int, Any]:
        """Run a task and return the values of its exports, as far as it got.

        Parameters
        ----------
        plan : Plan
        t : int
            Which task.
        values : mapping
            At least the values of its imports, unless what makes them has failed.
        failures : Failures
            Where it is noted if a step fails. No step runs that comes after one that has failed.
        sources : sequence, optional
            As for `Plan.run`.
        owned : bool, default True
            Whether kernels may overwrite imports as the plan says; if not, those are copied before.
        observer : callable, optional
            Who is told of each step.
        """
        local = {i: values[i] for i in self.imports[t] if i in values}
        for k, drop in zip(self.tasks[t].steps, self.drops[t], strict=True):
            if k >= failures.step:
                break
            start = time.perf_counter()
            try:
                step = plan.steps[k]
                if not owned and step.attrs.get("donate") and step.inputs[0] in self.imports[t]:
                    local[step.inputs[0]] = plan.backend.copy(local[step.inputs[0]])
                plan.run_step(k, local, sources)
            except Exception as error:
                failures.add(k, error)
                break
            if observer is not None:
                observer(here((k,), start))
            for i in drop:
                del local[i]
        return {i: local[i] for i in self.exports[t] if i in local}


@final
class Failures:
    """The first step of a plan that failed, and its error.

    Tasks go on until they come to a step after it, so that the error is the one that running the
    steps in order gives, however the tasks happened to be timed.
    """

    def __init__(self) -> None:
        self.step = sys.maxsize
        self.error: Exception | None = None
        self._lock = threading.Lock()

    def add(self, step: int, error: Exception | None) -> None:
        """Note that a step failed."""
        with self._lock:
            if step < self.step:
                self.step, self.error = step, error

    def stop(self) -> None:
        """Let no further step run."""
        self.add(-1, None)
