"""ThreadsExecutor: independent branches of a plan side by side, on dask's threaded scheduler."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.util import find_spec
from typing import Any, final

from gradloom.blas import one_thread_each
from gradloom.executor import AbstractExecutor
from gradloom.plan import Plan
from gradloom.source import RawSource
from gradloom.tasks import Schedule, cut, decide, step_costs

@final
class ThreadsExecutor(AbstractExecutor):
    """Runs independent branches side by side where an estimate says that it pays.

    Parameters
    ----------
    workers : int, optional
        Number of threads; by default dask's configuration ``num_workers``, or as many as
        there are cores that this process may use.
    always : bool, default False
        Whether to run in threads also where the estimate speaks against it.

    Notes
    -----
    Tasks are cut from the plan once. While branches run, BLAS takes one thread a call.
    """

    name = "threads"

    def __init__(self, workers: int | None = None, always: bool = False) -> None:
        self.workers = workers
        self.always = always
        self._schedules: weakref.WeakKeyDictionary[Plan, Schedule] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def unavailable(self) -> str | None:
        """Return which package is missing, and how to install it."""
        missing = [name for name in ("dask", "threadpoolctl") if find_spec(name) is None]
        return f"{' and '.join(missing)} not installed; pip install 'gradloom[dask]'" if missing else None

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        decision = decide(plan)
        schedule = self._always(plan) if self.always else decision.schedule
        with one_thread_each() if decision.one_thread else nullcontext():
            if schedule is None:
                return plan.run(inputs, sources)
            return _run(schedule, plan, inputs, sources, self.workers)

    def _always(self, plan: Plan) -> Schedule:
        """Return the tasks of a plan whatever they cost; found once."""
        with self._lock:
            if plan not in self._schedules:
                seconds = [cost.seconds() for cost in step_costs(plan)]
                self._schedules[plan] = Schedule(plan, cut(plan, seconds))
            return self._schedules[plan]


def _run(
    schedule: Schedule,
    plan: Plan,
    inputs: Sequence[Any],
    sources: Sequence[RawSource | None],
    workers: int | None,
) -> list[Any]:
    """Run all tasks of a plan in threads and return the plan's outputs."""
    # dask is optional, and takes as long to import as all of gradloom.
    from gradloom_dask.dask_graph import run_in_threads

    values: dict[int, Any] = dict(plan.constants)
    values.update(zip(plan.graph.inputs, inputs, strict=True))
    readers = dict(schedule.readers)
    lock = threading.Lock()

    def work(t: int) -> None:
        values.update(schedule.run_task(plan, t, {i: values[i] for i in schedule.imports[t]}, sources))
        with lock:
            for i in schedule.imports[t]:
                if i in readers:
                    readers[i] -= 1
                    if not readers[i]:
                        del values[i]

    run_in_threads(work, [task.after for task in schedule.tasks], workers)
    return [values[i] for i in plan.outputs]
