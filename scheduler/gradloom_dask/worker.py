"""What runs on the workers of a cluster: plans as data, and tasks by number."""

from __future__ import annotations

import pickle
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, final

from distributed import SchedulerPlugin, WorkerPlugin, get_worker

import gradloom
from gradloom.blas import limited_to
from gradloom.errors import SchedulerError
from gradloom.plan import Plan
from gradloom.schedule import Failures, Schedule
from gradloom.sharing import kernel_threads
from gradloom.tasks import Task
from gradloom_dask.packing import pack, unpack
from gradloom_dask.replies import reply

#: Seconds for which messages are gathered before they are sent; distributed's own are 2 to 10 ms.
BATCH_SECONDS = 0.001
#: How many of the batches that it has sent a stream keeps, for whoever looks for faults; distributed's own are 1,000,
#: of up to 1 MB each: a training loop that sends data with its steps would fill memory.
LOGGED = 16


class Result(NamedTuple):
    """What a task gives: values by id, the first step that failed in it or before it, and the worker it ran on."""

    values: dict[int, Any]
    step: int | None = None
    error: Exception | None = None
    worker: str | None = None


@final
class PlanPlugin(WorkerPlugin):  # type: ignore[misc]  # distributed has no types
    """Carries one plan to every worker, present and future; it is unpickled when first needed.

    Parameters
    ----------
    plan : Plan
    tasks : sequence of Task
    """

    def __init__(self, plan: Plan, tasks: Sequence[Task]) -> None:
        self.data = pickle.dumps((plan, list(tasks)))
        self.steps = len(plan.steps)
        self.uncompiled = list(plan.uncompiled)
        self.version = gradloom.__version__
        self.__setstate__(self.__getstate__())

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("data", "steps", "uncompiled", "version")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._loaded: tuple[Plan, Schedule] | None = None
        self._lock = threading.Lock()

    def load(self) -> tuple[Plan, Schedule]:
        """Return the plan and its schedule.

        Raises
        ------
        SchedulerError
            If this worker makes another plan of the graph than the client did, or compiles less of it.
        """
        with self._lock:
            if self._loaded is None:
                if self.version != gradloom.__version__:
                    raise SchedulerError(
                        "a worker has another version of gradloom",
                        expected=self.version,
                        got=gradloom.__version__,
                        remedy="install the same version on client, scheduler and workers",
                    )
                plan, tasks = pickle.loads(self.data)
                if len(plan.steps) != self.steps:
                    raise SchedulerError(
                        "a worker makes another plan of the same graph",
                        expected=f"{self.steps} steps",
                        got=f"{len(plan.steps)} steps",
                        remedy="install the same plugins of gradloom on client and workers",
                    )
                if plan.uncompiled != self.uncompiled:
                    raise SchedulerError(
                        "a worker does not compile what the client does, and would give other bits",
                        expected=f"failures on {self.uncompiled or 'nothing'}",
                        got=f"failures on {plan.uncompiled or 'nothing'}",
                        remedy="see the warnings of the compiler in the logs of the workers",
                    )
                self._loaded = plan, Schedule(plan, tasks)
            return self._loaded


class PlanMissingError(Exception):
    """A worker has not got the plan of a task."""


def run_task(
    name: str,
    t: int,
    blas: int | None,
    inputs: Mapping[int, int | None],
    topic: str | None,
    values: Sequence[Any],
    others: Sequence[Result],
) -> Result:
    """Run a task of a plan that was shipped before.

    Parameters
    ----------
    name : str
        Name of the plugin that holds the plan.
    t : int
        Which task.
    blas : int or None
        How many threads BLAS takes a call; None if it does not matter.
    inputs : mapping
        Ids of the values; with each the id it had where it comes as one of several outputs of an earlier run.
    topic : str or None
        Where the result is waited for; see `gradloom_dask.replies`.
    values : sequence of arrays and Result
    others : sequence of Result
        What the tasks gave that this one depends on.
    """
    worker = get_worker()
    plugin = worker.plugins.get(name)
    if plugin is None:
        raise PlanMissingError(name)
    plan, schedule = plugin.load()
    # Several tasks are one for each thread of a worker; one alone may share its kernels out over all.
    threads = worker.state.nthreads if len(schedule.tasks) == 1 else 1
    given = []
    for i, value in zip(inputs.values(), values, strict=True):
        if i is not None:
            if value.error is not None:  # that of an earlier run, whose output this is
                return Result({}, 0, value.error)
            value = value.values[i]
        given.append(value)
    result = run_loaded(plan, schedule, t, blas, tuple(inputs), given, others, threads)
    result = result._replace(worker=worker.address)
    if topic is not None and result.error is None:
        reply(topic, result.values.values(), result)
    return result


def run_loaded(
    plan: Plan,
    schedule: Schedule,
    t: int,
    blas: int | None,
    inputs: tuple[int, ...],
    values: Sequence[Any],
    others: Sequence[Result],
    threads: int = 1,
) -> Result:
    """Run a task of a plan that is at hand, each kernel in some number of threads; see `run_task`."""
    failures = Failures()
    known: dict[int, Any] = dict(plan.constants)
    known.update(zip(inputs, map(unpack, values), strict=True))
    for other in others:
        known.update({i: unpack(value) for i, value in other.values.items()})
        if other.step is not None:
            failures.add(other.step, other.error)
    token = kernel_threads.set(threads)
    try:
        with limited_to(blas):
            exports = schedule.run_task(plan, t, known, failures, owned=False)
    finally:
        kernel_threads.reset(token)
    exports = {i: pack(value) for i, value in exports.items()}
    if failures.error is None:
        return Result(exports)
    return Result(exports, failures.step, failures.error)


def pick(ids: tuple[int, ...], values: Sequence[Any], others: Sequence[Result]) -> Result:
    """Return some of the values of a task, for those who need no others."""
    (result,) = others
    chosen = {i: result.values[i] for i in ids if i in result.values}
    return result._replace(values=chosen, worker=get_worker().address)


def taken(i: int | None, values: Sequence[Any], others: Sequence[Any]) -> Any:
    """Return a value, or one of those that a run has left under one key, for a user."""
    (found,) = values
    if i is None:
        return found
    if found.error is not None:
        raise found.error
    value = unpack(found.values[i])
    # Where workers are threads, the client gets the array itself, and may write to it.
    return value.copy(order="K") if get_worker().address.startswith("inproc") else value


@final
class Prompt(SchedulerPlugin):  # type: ignore[misc]
    """Lets a scheduler send what it has to say at once, not gathered over milliseconds, and then forget it."""

    name = "gradloom-prompt"

    def start(self, scheduler: Any) -> None:
        """Adapt what is connected already."""
        self._scheduler = scheduler
        for streams in (scheduler.stream_comms, scheduler.client_comms):
            for stream in streams.values():
                shorten(stream)

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Adapt the stream to a new worker."""
        shorten(scheduler.stream_comms.get(worker))

    def add_client(self, scheduler: Any, client: str) -> None:
        """Adapt the stream to a new client."""
        shorten(scheduler.client_comms.get(client))


@final
class PromptWorker(WorkerPlugin):  # type: ignore[misc]
    """Lets a worker report at once."""

    name = "gradloom-prompt"

    def setup(self, worker: Any) -> None:
        """Adapt the stream to the scheduler."""
        shorten(worker.batched_stream)


def shorten(stream: Any) -> None:
    """Shorten the time for which a batched stream gathers messages, and its log of them, where it has such."""
    if isinstance(getattr(stream, "interval", None), (int, float)):
        stream.interval = BATCH_SECONDS
    log = getattr(stream, "recent_message_log", None)
    if type(log) is deque:
        stream.recent_message_log = deque(log, maxlen=LOGGED)


def first_failure(results: Mapping[str, Result]) -> tuple[int, Exception] | None:
    """Return the first step that failed among some results."""
    failures = Failures()
    for result in results.values():
        if result.step is not None:
            failures.add(result.step, result.error)
    return None if failures.error is None else (failures.step, failures.error)
