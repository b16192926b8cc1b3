"""The one place that knows how dask writes a task graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask
import dask.threaded
from dask._task_spec import List, Task, TaskRef

from gradloom.tasks import available_cores


def run_in_threads(work: Callable[[int], None], after: Sequence[Sequence[int]], workers: int | None) -> None:
    """Call ``work(t)`` for each task ``t`` once the tasks in ``after[t]`` have ended, in threads.

    Raises
    ------
    Exception
        What a task raised; tasks that were not started are dropped.
    """

    def task(t: int, ended: Any) -> None:
        work(t)

    keys = [f"task-{t}" for t in range(len(after))]
    graph: dict[str, Any] = {
        key: Task(key, task, t, List(*[TaskRef(keys[other]) for other in after[t]])) for t, key in enumerate(keys)
    }
    workers = workers or dask.config.get("num_workers", None) or available_cores()
    dask.threaded.get(graph, keys, num_workers=workers)
