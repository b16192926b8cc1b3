"""Placement on a cluster: tasks that need a resource go to workers that have it, and an error comes where none has."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, final

import dask
from distributed import Client, LocalCluster, Worker, get_worker
from distributed.utils import sync

from gradloom.errors import DeviceError
from gradloom.graph import Graph
from gradloom.placement import first_location, resource_of
from gradloom.source import RawSource
from gradloom.tasks import Task

#: Seconds for which a run waits for a worker that has what it needs; one that is started anew takes some.
RESOURCE_SECONDS = 8.0
#: For how long it is taken for known which workers there are.
WORKERS_KNOWN_SECONDS = 1.0
#: Seconds after which a worker of a local cluster that has not started anew is given up.
RESTART_SECONDS = 300


@final
class Demands(dict[str, dict[str, float]]):
    """The resources that tasks need, by key, for dask's scheduler; other tasks need none."""

    def __missing__(self, key: str) -> dict[str, float]:
        return {}


def demands(prefix: str, tasks: Sequence[Task]) -> Any:
    """Return what dask asks for the resources of each task of a run, None if none needs any."""
    needed = Demands({f"{prefix}-{t}": amounts([task.resource]) for t, task in enumerate(tasks) if task.resource})
    return needed.__getitem__ if needed else None


def amounts(places: Collection[str | None]) -> dict[str, float]:
    """Return how much of each resource a worker must have that stands for some places."""
    found: dict[str, float] = {}
    for name, amount in filter(None, map(resource_of, places)):
        found[name] = max(amount, found.get(name, 0.0))
    return found


def workers_of(there: Client | Worker) -> Mapping[str, Any]:
    """Return what the scheduler of a client, or of a worker, tells of each worker, by address; nothing if it is lost.

    The scheduler itself is asked: what `Client.scheduler_info` returns may be what the client looked up in the
    background, of few workers or none. Who waits for results of a lost scheduler hears of that in another way.
    """
    if there.scheduler is None:  # of a client that is being closed
        return {}
    try:
        workers: Mapping[str, Any] = sync(there.loop, there.scheduler.identity, n_workers=-1)["workers"]
    except OSError:
        return {}
    return workers


@final
class Roster:
    """Which workers a client has, asked once a second at most."""

    def __init__(self) -> None:
        self._asked = -WORKERS_KNOWN_SECONDS
        self._threads: dict[str, int] = {}
        self._lanes = 1

    def threads(self, client: Client) -> Mapping[str, int]:
        """Return how many threads each worker has, by address."""
        now = time.monotonic()
        if now - self._asked > WORKERS_KNOWN_SECONDS:
            found = workers_of(client)
            self._threads = {address: int(worker["nthreads"]) for address, worker in found.items()}
            self._asked = now
        return self._threads

    def lanes(self, client: Client) -> int:
        """Return how many threads all workers have; while none is there, how many the last ones had."""
        self._lanes = sum(self.threads(client).values()) or self._lanes
        return self._lanes


def described(needed: Mapping[str, float]) -> str:
    """Return resources as they are written in Python."""
    return "{" + ", ".join([f"{name!r}: {amount:g}" for name, amount in needed.items()]) + "}"


@final
class Watch:
    """Sees to it that nothing waits forever for workers with a resource.

    Parameters
    ----------
    graph : Graph
        What is to run.
    needs : collection of frozenset of str
        Sets of places; some worker must stand for all places of a set.
    sources : sequence, optional
        Where the user wrote each node, when not as in the graph.
    """

    def __init__(
        self, graph: Graph, needs: Collection[frozenset[str]], sources: Sequence[RawSource | None] = ()
    ) -> None:
        self._graph = graph
        self._sources = sources
        self._needs = sorted(needs, key=sorted)
        self._since: float | None = None

    def begin(self, client: Client) -> None:
        """Wait until workers have what is needed, for some seconds."""
        while self._needs and not self.look(workers_of(client)):
            time.sleep(0.1)

    def look(self, workers: Mapping[str, Any]) -> bool:
        """Return whether workers have what is needed.

        Raises
        ------
        DeviceError
            If that has not been so for some seconds, though there are workers.
        """
        offers = [worker.get("resources") or {} for worker in workers.values()]
        missing = [need for need in self._needs if offers and not any([_offered(need, offer) for offer in offers])]
        now = time.monotonic()
        if not missing:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since > RESOURCE_SECONDS:
            raise self._error(missing, offers)
        return not missing

    def _error(self, missing: Sequence[frozenset[str]], offers: Sequence[Mapping[str, float]]) -> DeviceError:
        names = sorted({f"{name}={amount:g}" for offer in offers for name, amount in offer.items()})
        count = f"{len(offers)} worker{'' if len(offers) == 1 else 's'}"
        needed = amounts(missing[0])
        wanted = [" and ".join(sorted(need)) for need in missing]
        return DeviceError(
            f"no worker has {' or '.join(wanted)}",
            op="device",
            expected=f"what one of the {count} has: {', '.join(names)}"
            if names
            else f"workers with {' and '.join(needed)}; none of the {count} has any resource",
            got=", ".join(wanted),
            remedy=f"start workers that have it: gl.cluster(resources={described(needed)}), or "
            f"`dask worker --resources '{' '.join([f'{name}={amount:g}' for name, amount in needed.items()])}'`",
            location=first_location(self._graph, missing[0], self._sources),
        )


def _offered(need: Collection[str], offer: Mapping[str, float]) -> bool:
    return all([offer.get(name, 0) >= amount for name, amount in amounts(need).items()])


# -- where dask makes the tasks: collections and chunked data -----------------------------------


def require(values: Sequence[Any], others: Sequence[Any]) -> Any:
    """Return what is to be computed, once this cluster has a worker for it.

    The tasks that need a resource take it from here: dask would let them wait for such a worker without end.
    """
    (computation,) = values
    worker = _this_worker(computation.graph, computation.needs[0])
    watch = Watch(computation.graph, computation.needs)
    while not watch.look(workers_of(worker)):
        time.sleep(0.1)
    return computation


def require_here(graph: Graph, places: Collection[str]) -> None:
    """Raise unless this process is a worker that stands for some places."""
    if places and not _offered(places, _this_worker(graph, places).state.total_resources):
        raise DeviceError(
            f"a task that needs {' and '.join(sorted(places))} is about to run on a worker without it",
            op="device",
            expected="a task with its own key: dask keeps what a task needs with its key",
            got="one that was fused with others",
            remedy="compute what gradloom returned as it is, or under "
            "dask.config.set({'optimization.fuse.active': False})",
            location=first_location(graph, places),
        )


def _this_worker(graph: Graph, places: Collection[str]) -> Worker:
    """Return the worker of a cluster that this is."""
    try:
        return get_worker()
    except ValueError:
        names = " and ".join(sorted(places))
        raise DeviceError(
            f"no worker has {names}: dask computes this in a process that is no worker",
            op="device",
            expected="a cluster whose workers have it",
            got=names,
            remedy=f"compute it on one: with gl.cluster(resources={described(amounts(places))}), or on a client whose "
            "workers were started with resources",
            location=first_location(graph, places),
        ) from None


class PatientCluster(LocalCluster):  # type: ignore[misc]  # distributed has no types
    """A local cluster that waits for workers to start anew after they died: where the machine is busy, long."""

    def _update_worker_status(self, op: str, msg: Any) -> None:
        with dask.config.set({"distributed.deploy.lost-worker-timeout": f"{RESTART_SECONDS}s"}):
            super()._update_worker_status(op, msg)


class LabelledCluster(PatientCluster):
    """A local cluster whose workers have different resources.

    Parameters
    ----------
    resources : sequence of mapping
        Those of each worker.
    **options
        As for ``LocalCluster``.
    """

    def __init__(self, resources: Sequence[Mapping[str, float]], **options: Any) -> None:
        self._resources = resources
        super().__init__(n_workers=0, **options)
        self.scale(len(resources))

    def new_worker_spec(self) -> dict[Any, Any]:
        """Return name and options of the next worker."""
        ((name, spec),) = super().new_worker_spec().items()
        own = self._resources[len(self.worker_spec) % len(self._resources)]
        return {name: {**spec, "options": {**spec["options"], "resources": dict(own)}}}
