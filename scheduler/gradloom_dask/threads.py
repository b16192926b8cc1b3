"""ThreadsExecutor: independent branches of a plan side by side, on dask's threaded scheduler."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, final

from gradloom.executor import AbstractExecutor
from gradloom.plan import Plan
from gradloom.source import RawSource
from gradloom_dask.tasks import MAX_STEPS, Task, cut, makespan

#: A plan is run in threads where that is estimated to take at most this part of its serial time.
WORTHWHILE = 0.85


def available_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@final
class ThreadsExecutor(AbstractExecutor):
    """Runs independent branches side by side where an estimate says that it pays.

    Parameters
    ----------
    workers : int, optional
        Number of threads; by default that of the cores this process may use.
    always : bool, default False
        Whether to run in threads also where the estimate speaks against it.

    Notes
    -----
    Tasks are cut from the plan once. While they run, BLAS takes one thread a call.
    """

    name = "threads"

    def __init__(self, workers: int | None = None, always: bool = False) -> None:
        self.workers = workers or available_cores()
        self.always = always
        self._schedules: weakref.WeakKeyDictionary[Plan, _Schedule | None] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def unavailable(self) -> str | None:
        """Return which package is missing, and how to install it."""
        missing = [name for name in ("dask", "threadpoolctl") if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed; pip install 'gradloom[dask]'" if missing else None

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        schedule = self.schedule(plan)
        if schedule is None:
            return plan.run(inputs, sources)
        return schedule.run(plan, inputs, sources, self.workers)

    def schedule(self, plan: Plan) -> _Schedule | None:
        """Return the tasks of a plan, None where it is to run serially; found once."""
        with self._lock:
            if plan not in self._schedules:
                self._schedules[plan] = self._decide(plan)
            return self._schedules[plan]

    def _decide(self, plan: Plan) -> _Schedule | None:
        if len(plan.steps) > MAX_STEPS:
            return None
        tasks = cut(plan)
        serial = sum(task.seconds for task in tasks)
        if not self.always and makespan(tasks, self.workers) > WORTHWHILE * serial:
            return None
        return _Schedule(plan, tasks)


@final
class _Schedule:
    """The tasks of a plan, and which values pass from one to another."""

    def __init__(self, plan: Plan, tasks: Sequence[Task]) -> None:
        self.tasks = tasks
        self._imports: list[tuple[int, ...]] = []
        self._exports: list[tuple[int, ...]] = []
        self._drops: list[list[tuple[int, ...]]] = []
        made = [{plan.steps[k].out for k in task.steps} for task in tasks]
        used = [{i for k in task.steps for i in plan.steps[k].inputs} for task in tasks]
        #: How many tasks read each value that passes between tasks.
        self._readers: dict[int, int] = {}
        kept = {*plan.outputs, *plan.constants, *plan.graph.inputs}
        for own, read in zip(made, used, strict=True):
            self._imports.append(tuple(sorted(read - own)))
            for i in read - own - kept:
                self._readers[i] = self._readers.get(i, 0) + 1
        for own in made:
            self._exports.append(tuple(sorted(i for i in own if i in self._readers or i in kept)))
        for t, task in enumerate(tasks):
            self._drops.append(self._local_drops(plan, task, set(self._exports[t])))

    @staticmethod
    def _local_drops(plan: Plan, task: Task, exports: set[int]) -> list[tuple[int, ...]]:
        """Return, for each step of a task, the values that the task does not need after it."""
        last = {i: n for n, k in enumerate(task.steps) for i in plan.steps[k].inputs}
        drops: list[list[int]] = [[] for _ in task.steps]
        for i, n in last.items():
            if i not in exports:
                drops[n].append(i)
        return [tuple(drop) for drop in drops]

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None], workers: int) -> list[Any]:
        """Run all tasks and return the plan's outputs."""
        # dask and threadpoolctl are optional, and take as long to import as all of gradloom.
        from gradloom_dask.blas import one_thread_each
        from gradloom_dask.dask_graph import run_in_threads

        values: dict[int, Any] = dict(plan.constants)
        values.update(zip(plan.graph.inputs, inputs, strict=True))
        readers = dict(self._readers)
        lock = threading.Lock()

        def work(t: int) -> None:
            local = {i: values[i] for i in self._imports[t]}
            for k, drop in zip(self.tasks[t].steps, self._drops[t], strict=True):
                plan.run_step(k, local, sources)
                for i in drop:
                    del local[i]
            values.update({i: local[i] for i in self._exports[t]})
            with lock:
                for i in self._imports[t]:
                    if i in readers:
                        readers[i] -= 1
                        if not readers[i]:
                            del values[i]

        with one_thread_each():
            run_in_threads(work, [task.after for task in self.tasks], workers)
        return [values[i] for i in plan.outputs]
