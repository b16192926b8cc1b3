"""DistributedExecutor: plans on the workers of a dask cluster, each shipped there once."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, final

from gradloom.blas import blas_threads
from gradloom.calibration import rates
from gradloom.decision import decide
from gradloom.errors import ArgumentError, SchedulerError
from gradloom.executor import AbstractExecutor, AbstractWorkers, SerialExecutor
from gradloom.packages import installed
from gradloom.plan import Plan
from gradloom.simulate import Link, choose_cuts
from gradloom.site import AbstractSite
from gradloom.source import RawSource
from gradloom.tasks import Task, step_costs
from gradloom_dask.threads import inside_worker

if TYPE_CHECKING:
    from gradloom_dask.shipped import Shipped

#: What is taken to lie between client and workers, when a plan is cut and its tasks are placed.
LINK = Link(bandwidth=500e6, latency=3e-3, task_seconds=3e-3)
#: Plans estimated to take less run in the calling process.
INLINE_SECONDS = 20e-3
#: How local clusters differ from dask's own. How often processes look after themselves: at 20 and 10 ms that takes 5 %
#: of a core each. And which memory glibc gives back: at 64 kB each array is on fresh pages, and decompositions take a
#: quarter longer.
LOCAL = {
    "distributed.admin.tick.interval": "500ms",
    "distributed.worker.profile.interval": "100ms",
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 2**26,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 2**25,
}
#: How often a run is begun again after workers took its data with them.
TRIES = 4

_SERIAL = SerialExecutor()


@final
class DistributedExecutor(AbstractExecutor):
    """Runs plans on the workers of the current ``distributed.Client``.

    Notes
    -----
    `gradloom.scheduler` takes a client too, and `gradloom.cluster` starts workers on this machine.
    """

    name = "distributed"

    def __init__(self) -> None:
        self._of_client: weakref.WeakKeyDictionary[Any, ClientExecutor] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def unavailable(self) -> str | None:
        """Return which package is missing, and how to install it."""
        missing = [name for name in ("distributed", "threadpoolctl") if not installed(name)]
        return f"{' and '.join(missing)} not installed; pip install 'gradloom[distributed]'" if missing else None

    def adapt(self, value: Any) -> AbstractExecutor | None:
        """Return an executor for a ``distributed.Client``, None for anything else."""
        if type(value).__module__.partition(".")[0] != "distributed" and not hasattr(value, "scheduler_info"):
            return None
        from distributed import Client

        if not isinstance(value, Client):
            return None
        with self._lock:
            found = self._of_client.get(value)
            if found is None:
                found = self._of_client[value] = ClientExecutor(value)
            return found

    @contextmanager
    def start(self, **options: Any) -> Iterator[AbstractExecutor]:
        """Start workers on this machine that listen on its loopback device only, and end them after."""
        with local_client(**options) as client:
            found = self.adapt(client)
            assert found is not None
            yield found

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        return _SERIAL.run(plan, inputs, sources) if inside_worker() else self._current().run(plan, inputs, sources)

    def tasks(self, plan: Plan) -> Sequence[Task]:
        """Return the tasks that a plan is run as."""
        return self._current().tasks(plan)

    def lanes(self) -> int:
        """Return how many tasks the workers run at once."""
        return self._current().lanes()

    def site(self, plan: Plan, inputs: Sequence[Any]) -> AbstractSite | None:
        """Return the workers of the current client."""
        return self._current().site(plan, inputs)

    def remote_workers(self) -> AbstractWorkers | None:
        """Return the workers of the current client; None inside a task."""
        return None if inside_worker() else self._current().remote_workers()

    def _current(self) -> AbstractExecutor:
        """Return the executor of the current client."""
        from distributed import default_client

        try:
            client = default_client()
        except ValueError:
            raise SchedulerError(
                "there is no client",
                op="scheduler",
                expected="a distributed.Client that is open",
                remedy="start workers with `with gl.cluster(n_workers=2)`, or connect a distributed.Client",
            ) from None
        executor = self.adapt(client)
        assert executor is not None
        return executor


@contextmanager
def local_client(
    n_workers: int | None = None,
    threads_per_worker: int = 1,
    memory_limit: Any = "auto",
    processes: bool = True,
    resources: Any = None,
    **options: Any,
) -> Iterator[Any]:
    """Start workers on this machine and yield a client; nothing listens beyond its loopback device."""
    import dask
    from distributed import Client

    from gradloom_dask.place import LabelledCluster, PatientCluster
    from gradloom_dask.worker import Prompt, PromptWorker

    loopback = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    if processes:  # threads need no address
        loopback["host"] = "127.0.0.1"
    options = {**loopback, **options, "memory_limit": memory_limit, "processes": processes}
    options["threads_per_worker"] = threads_per_worker
    with dask.config.set(LOCAL):
        if isinstance(resources, (list, tuple)):
            n_workers = _one_for_each(resources, n_workers)
            cluster = LabelledCluster(resources, **options)
        else:
            cluster = PatientCluster(n_workers=n_workers, resources=resources, **options)
    try:
        # Data goes between this process and the workers, not through the scheduler's socket as well.
        with Client(cluster, set_as_default=False, direct_to_workers=True) as client:
            if isinstance(resources, (list, tuple)):
                client.wait_for_workers(n_workers)
            client.register_plugin(Prompt())
            client.register_plugin(PromptWorker())
            yield client
    finally:
        cluster.close()


def _one_for_each(resources: Sequence[Any], n_workers: int | None) -> int:
    """Return the number of workers that a list of resources is for."""
    if not resources or n_workers not in (None, len(resources)):
        raise ArgumentError(
            "the resources are not those of each worker",
            op="cluster",
            argument="resources",
            expected=f"one mapping for all workers, or a list of {n_workers or 'one for each'}",
            got=f"a list of {len(resources)}",
            remedy="leave n_workers out, or give each worker its mapping ({} for nothing)",
        )
    return len(resources)


@final
class ClientExecutor(AbstractExecutor):
    """Runs plans on the workers of one client.

    Parameters
    ----------
    client : distributed.Client
    always : bool, default False
        Whether to send to the workers also what takes less time than sending it.

    Raises
    ------
    SchedulerError
        If a worker, or the scheduler, has no gradloom or another version of it.
    """

    name = "distributed"

    def __init__(self, client: Any, always: bool = False) -> None:
        from gradloom_dask.remote import RemoteWorkers
        from gradloom_dask.running import Connection

        self.always = always
        self._connection = Connection(client)
        self._connection.check_versions()
        self._workers = RemoteWorkers(self._connection, self._shipped)

    def remote_workers(self) -> AbstractWorkers | None:
        """Return the workers of the client; None inside a task."""
        return None if inside_worker() else self._workers

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        if self._inline(plan):
            return _SERIAL.run(plan, inputs, sources)
        return self._connection.run(self._shipped(plan), plan, inputs, sources, TRIES)

    def tasks(self, plan: Plan) -> Sequence[Task]:
        """Return the tasks that a plan is run as."""
        return _SERIAL.tasks(plan) if self._inline(plan) else self._shipped(plan).tasks

    def lanes(self) -> int:
        """Return how many tasks the workers run at once."""
        return self._connection.lanes()

    def site(self, plan: Plan, inputs: Sequence[Any]) -> AbstractSite | None:
        """Return the workers, where they can run all of a plan; None where it runs here."""
        from gradloom_dask.site import ClusterSite

        if plan.resources or self._inline(plan):
            return None
        return ClusterSite(self._connection, self._shipped(plan), plan, inputs)

    def _shipped(self, plan: Plan) -> Shipped:
        """Return a plan as it is cut for the workers that are there."""
        lanes = self._connection.lanes()
        return self._connection.shipments.known(plan, lanes) or self._ship(plan, lanes)

    def _inline(self, plan: Plan) -> bool:
        """Return whether a plan runs in this process."""
        known = self._connection.shipments.known(plan) or self._shipped(plan)
        small = known.seconds < INLINE_SECONDS and not self.always and not plan.resources
        return small or not plan.steps or inside_worker()

    def _ship(self, plan: Plan, lanes: int) -> Shipped:
        """Cut a plan for workers, into one task where several would take longer."""
        costs = step_costs(plan)
        speed = rates()
        seconds = [cost.seconds(speed) for cost in costs]
        tasks = choose_cuts(plan, seconds, [lanes], LINK)[lanes].tasks
        blas = None
        if any(cost.threaded for cost in costs):
            blas = 1 if decide(plan).one_thread else blas_threads()
        return self._connection.shipments.add(plan, tasks, blas, lanes)
