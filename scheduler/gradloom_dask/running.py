"""Connection: what runs on a client's cluster, what is there already, and what to do when it breaks."""

from __future__ import annotations

import itertools
import time
import uuid
import weakref
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, TimeoutError
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, final

import dask
import numpy as np
from distributed import Client
from distributed.client import FuturesCancelledError
from distributed.scheduler import KilledWorker

import gradloom
from gradloom.errors import SchedulerError
from gradloom.observer import OBSERVER
from gradloom.plan import Plan
from gradloom.source import RawSource
from gradloom_dask.cluster import TRIES
from gradloom_dask.dask_graph import Call, named_graph
from gradloom_dask.kept import CHAIN_BYTES, CHAIN_RUNS, LARGE, Fingerprint, Held, KeptInputs, Sent
from gradloom_dask.observing import TaskStream
from gradloom_dask.packing import fingerprint, pack, unpack, writable
from gradloom_dask.place import Roster, Watch, demands, workers_of
from gradloom_dask.replies import Replies
from gradloom_dask.shipments import Shipments, begin
from gradloom_dask.shipped import Shipped
from gradloom_dask.worker import (
    PlanMissingError,
    Result,
    first_failure,
    pick,
    run_task,
    shorten,
)

#: Seconds after which a lost scheduler is given up, and after which one without any workers is.
SCHEDULER_SECONDS = 10.0
WORKERS_SECONDS = 60.0
#: Gradloom's version on a worker; an expression, as nothing of ours may be there.
_VERSION = "__import__('importlib.metadata', fromlist=['version']).version('gradloom')"


class Submitted(NamedTuple):
    """A run that has been handed to the scheduler.

    Attributes
    ----------
    prefix : str
        Of the keys of its tasks.
    futures : dict
        By key: what was asked for.
    held : list of Held
        Its inputs on the workers, which stay there while this is held.
    prints : dict
        Fingerprints of its large inputs, by id.
    watch : Watch
    chain : float
        What part of the longest chain of runs stands behind its outputs.
    """

    prefix: str
    futures: dict[str, Any]
    held: list[Held]
    prints: dict[int, Fingerprint]
    watch: Watch
    chain: float


@final
class Connection:
    """A client, the plans its workers hold, and the inputs they keep."""

    def __init__(self, client: Client) -> None:
        self._client = weakref.ref(client)
        #: The plans that the workers hold.
        self.shipments = Shipments(client)
        self._roster = Roster()
        self._runs = itertools.count()
        self._prefix = uuid.uuid4().hex[:12]
        self._inputs = KeptInputs(f"gradloom-input-{self._prefix}", self.wait)
        self._replies = Replies(client)
        shorten(client.scheduler_comm)

    @property
    def client(self) -> Client:
        """The client, while it is open."""
        client = self._client()
        if client is None or client.status in ("closed", "closing"):
            raise SchedulerError("the client is closed", op="scheduler", remedy="connect a new distributed.Client")
        return client

    def check_versions(self) -> None:
        """Raise unless scheduler and workers have this version of gradloom."""
        client = self.client
        found = dict(client.run(eval, _VERSION, on_error="return"))
        try:
            found["scheduler"] = client.run_on_scheduler(eval, _VERSION)
        except Exception as error:
            found["scheduler"] = error
        for where, version in sorted(found.items()):
            if version != gradloom.__version__:
                missing = isinstance(version, Exception)
                raise SchedulerError(
                    f"{where} of the cluster has {'no' if missing else 'another version of'} gradloom",
                    op="scheduler",
                    expected=f"gradloom {gradloom.__version__} on the scheduler and all workers",
                    got=f"{type(version).__name__}: {version}" if missing else f"gradloom {version}",
                    remedy=f"pip install 'gradloom[distributed]=={gradloom.__version__}' there",
                )

    def lanes(self) -> int:
        """Return how many tasks the workers run at once."""
        return self._roster.lanes(self.client)

    # -- runs --------------------------------------------------------------------------------

    def run(
        self,
        shipped: Shipped,
        plan: Plan,
        inputs: Sequence[Any],
        sources: Sequence[RawSource | None],
        tries: int,
    ) -> list[Any]:
        """Run a plan; begin again, a bounded number of times, when workers took its data with them."""
        for attempt in range(tries):
            try:
                return self._attempt(shipped, plan, inputs, sources)
            except PlanMissingError:
                shipped.registered = False
            except (CancelledError, FuturesCancelledError) as error:
                self.send_again(error)
                if attempt == tries - 1:
                    raise shipped.lost(plan, tries, error, sources) from error
        raise not_kept()

    def _attempt(
        self, shipped: Shipped, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None]
    ) -> list[Any]:
        client = self.client
        run = self.submit(shipped, plan, inputs, shipped.results, sources, topic=self._replies.topic)
        try:
            gathered, observer = self._replies.gather(client, run.futures), OBSERVER.get()
            if observer is not None:
                gathered = TaskStream(client, run.prefix, shipped.tasks, observer).during(gathered)
            results: dict[str, Result] = dict(zip(run.futures, self.wait(gathered, run.held, run.watch), strict=True))
            failure = first_failure(results)
            if failure is not None:
                raise _with_source(failure[1], failure[0], plan, sources)
            known = {**plan.constants, **dict(zip(plan.graph.inputs, inputs, strict=True))}
            for result in results.values():
                known.update({i: writable(unpack(value)) for i, value in result.values.items()})
            self._keep(run, shipped, results, known)
        except KilledWorker as error:
            raise self.killed(error, shipped, plan, sources) from error
        finally:
            del run
        return [known[i] for i in plan.outputs]

    def _keep(self, run: Submitted, shipped: Shipped, results: Mapping[str, Result], known: dict[int, Any]) -> None:
        """Let outputs stay where they were made that may be inputs of the next run: their like was, of the last one.

        To know them again, they are hashed, which costs time where they do not come back. They are sent again where
        the scheduler would remember too many runs with them.
        """
        inprocess = self.client.scheduler.address.startswith("inproc")
        for key, result in results.items():
            for i in result.values:
                value = known[i]
                if type(value) is not np.ndarray or value.nbytes <= LARGE:
                    continue
                if i in shipped.returning and run.chain < 1.0:
                    if inprocess:  # the worker has this very array, and the caller may write to it
                        known[i] = value.copy(order="K")
                    shipped.returning.discard(i)
                    self._inputs.add(fingerprint(pack(value)), Held(run.futures[key], i, result.worker, run.chain))
                self._inputs.note(known[i], i, shipped.returning)

    def submit(
        self,
        shipped: Shipped,
        plan: Plan,
        inputs: Sequence[Any],
        results: Sequence[str],
        sources: Sequence[RawSource | None] = (),
        topic: str | None = None,
    ) -> Submitted:
        """Hand a run to the scheduler, without waiting for it.

        Parameters
        ----------
        shipped : Shipped
        plan : Plan
        inputs : sequence
            Arrays, or `Held` where they are on the workers.
        results : sequence of str
            Suffixes of the keys that are asked for.
        topic : str, optional
            Where small results are waited for.
        """
        client = self.client
        watch = Watch(plan.graph, [frozenset([place]) for place in plan.resources], sources)
        watch.begin(client)
        given = dict(zip(plan.graph.inputs, inputs, strict=True))
        sent = self.send(shipped, plan, {i: given[i] for own in shipped.inputs for i in own})
        prefix = f"gradloom-{self._prefix}-{next(self._runs)}"
        calls = {}
        for t, own in enumerate(shipped.inputs):
            others = [f"{prefix}-{suffix}" for suffix in shipped.others[t]]
            waited_for = topic if f"{t}" in results else None
            args = shipped.name, t, shipped.blas, {i: sent.names.get(i) for i in own}, waited_for
            calls[f"{prefix}-{t}"] = Call(run_task, args, [sent.values[i] for i in own], others)
        wanted = {*results, *[other for others in shipped.others for other in others]}
        for n, (t, ids) in enumerate(shipped.picks):
            if f"{t}-{n}" in wanted:
                calls[f"{prefix}-{t}-{n}"] = Call(pick, (ids,), (), [f"{prefix}-{t}"])
        keys = [f"{prefix}-{suffix}" for suffix in results]
        with self._placed(client, prefix, shipped, plan):
            futures = client.get(named_graph(prefix, calls), keys, resources=demands(prefix, shipped.tasks), sync=False)
        chain = max([held.chain for held in sent.held], default=0.0)
        small = sum([size for i in plan.graph.inputs if (size := plan.graph.specs[i].nbytes) <= LARGE])
        chain += max(1.0 / CHAIN_RUNS, small / CHAIN_BYTES)
        return Submitted(prefix, dict(zip(keys, futures, strict=True)), sent.held, sent.prints, watch, chain)

    def send(self, shipped: Shipped, plan: Plan, given: Mapping[int, Any]) -> Sent:
        """Send a plan to the workers, and inputs by id, where they have not got them."""
        client = self.client
        self.shipments.send(client, shipped, plan)
        return self._inputs.send(client, given)

    def _placed(self, client: Client, prefix: str, shipped: Shipped, plan: Plan) -> AbstractContextManager[Any]:
        """Return a context in which the tasks of a plan go to the workers of its own list schedule.

        dask lets all tasks that share a large value run where that is, one after the other. It is free to let them run
        elsewhere, where a worker has gone or is late.
        """
        if len(shipped.tasks) < 2 or plan.resources:
            return nullcontext()
        places = shipped.places(plan, self._roster.threads(client))
        if not places:
            return nullcontext()
        return _running_at({f"{prefix}-{suffix}": worker for suffix, worker in places.items()})

    def wait(self, coroutine: Coroutine[Any, Any, Any], held: Sequence[Held] = (), watch: Watch | None = None) -> Any:
        """Wait for what a client does, while there are a scheduler and workers, and those that have what it needs."""
        client = self.client
        future = begin(client, coroutine)
        lonely: float | None = None
        try:
            while True:
                try:
                    return future.result(timeout=1.0)
                except TimeoutError:
                    if future.done():
                        raise
                if client.status != "running":
                    self.require_scheduler(None)
                workers = workers_of(client)
                if any([one.worker is not None and one.worker not in workers for one in held]):
                    raise CancelledError("a worker is gone, and with it an output of an earlier run")
                if watch is not None:
                    watch.look(workers)
                if workers:
                    lonely = None
                elif lonely is None:
                    lonely = time.monotonic()
                elif time.monotonic() - lonely > WORKERS_SECONDS:
                    raise SchedulerError(
                        f"the cluster has had no worker for {WORKERS_SECONDS:.0f} s",
                        op="scheduler",
                        expected="at least one worker",
                        remedy="add workers, or run with gl.scheduler('auto')",
                    )
        except BaseException:
            future.cancel()
            raise

    def scatter(self, value: Any) -> Any:
        """Send a value to a worker, and return a future of it."""
        for _ in range(TRIES):
            try:
                return self._inputs.scatter(self.client, {self._inputs.new_key(): value}).popitem()[1]
            except CancelledError as error:
                self.send_again(error)
        raise not_kept()

    def send_again(self, cause: BaseException) -> None:
        """Let all that workers may have lost be sent again; raise if it is the scheduler that is lost."""
        self._inputs.clear()
        self.require_scheduler(cause)

    def require_scheduler(self, cause: BaseException | None) -> None:
        """Wait a while for the scheduler to come back; raise if it does not."""
        client = self._client()
        end = time.monotonic() + SCHEDULER_SECONDS
        while client is not None and client.status == "connecting" and time.monotonic() < end:
            time.sleep(0.1)
        if client is None or client.status != "running":
            raise SchedulerError(
                "the connection to the scheduler of the cluster is lost",
                op="scheduler",
                expected=f"a scheduler that answers within {SCHEDULER_SECONDS:.0f} s",
                remedy="start a new cluster and a new client",
            ) from cause
        self.shipments.send_again()
        shorten(client.scheduler_comm)

    def killed(
        self, error: KilledWorker, shipped: Shipped, plan: Plan, sources: Sequence[RawSource | None] = ()
    ) -> SchedulerError:
        """Return the error for a task that ended several workers."""
        suffix = str(error.task).rpartition(f"gradloom-{self._prefix}-")[2].split("-")
        what = "a task"
        expected = "kernels that leave their process alive, within its memory limit"
        if len(suffix) > 1 and suffix[1].isdigit():
            what = f"a task that runs {shipped.describe(int(suffix[1]), plan, sources)}"
            expected += f"; {shipped.needs(int(suffix[1]), plan)}"
        return SchedulerError(
            f"{what} ended {error.allowed_failures + 1} workers one after the other",
            op="scheduler",
            expected=expected,
            got=str(error),
            remedy="raise memory_limit, or look for a crash in the logs of the workers",
        )


def not_kept() -> SchedulerError:
    """Return the error for workers that have not got what they were sent, again and again."""
    return SchedulerError(
        "workers did not keep what they were sent", op="scheduler", remedy="see the logs of the workers"
    )


def _running_at(workers: Mapping[str, str]) -> AbstractContextManager[Any]:
    """Return a context in which tasks go to workers, by key; to others where those are gone, or late."""
    annotated: AbstractContextManager[Any] = dask.annotate(workers=workers.__getitem__, allow_other_workers=True)
    return annotated


def _with_source(error: Exception, step: int, plan: Plan, sources: Sequence[RawSource | None]) -> Exception:
    """Return an error of a worker with the user's line of this run."""
    if sources and hasattr(error, "__notes__"):
        error.__notes__ = [note for note in error.__notes__ if not note.startswith("gradloom: while running")]
        plan.explain_error(error, step, sources)
    return error
