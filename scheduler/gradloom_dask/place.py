"""Placement on a cluster: tasks that need a resource go to workers that have it, and an error comes where none has."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, final

from distributed import Client, LocalCluster

from gradloom.errors import DeviceError
from gradloom.placement import resource_of
from gradloom.plan import Plan
from gradloom.source import Source
from gradloom.tasks import Task

#: Seconds for which a run waits for a worker that has what it needs; one that is started anew takes some.
RESOURCE_SECONDS = 8.0


@final
class Demands(dict[str, dict[str, float]]):
    """The resources that tasks need, by key, for dask's scheduler; other tasks need none."""

    def __missing__(self, key: str) -> dict[str, float]:
        return {}


def demands(prefix: str, tasks: Sequence[Task]) -> Any:
    """Return what dask asks for the resources of each task of a run, None if none needs any."""
    found = {f"{prefix}-{t}": resource_of(task.resource) for t, task in enumerate(tasks)}
    needed = Demands({key: {own[0]: own[1]} for key, own in found.items() if own is not None})
    return needed.__getitem__ if needed else None


@final
class Watch:
    """Sees to it that a plan's run does not wait forever for workers with a resource.

    Parameters
    ----------
    plan : Plan
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._since: float | None = None

    def begin(self, client: Client) -> None:
        """Wait until workers have what the plan needs, for some seconds."""
        while self._plan.resources and not self.look(client.scheduler_info(n_workers=-1)["workers"]):
            time.sleep(0.1)

    def look(self, workers: Mapping[str, Any]) -> bool:
        """Return whether workers have what the plan needs.

        Raises
        ------
        DeviceError
            If that has not been so for some seconds, though there are workers.
        """
        offers = [worker.get("resources") or {} for worker in workers.values()]
        missing = [place for place in sorted(self._plan.resources) if offers and not _offered(place, offers)]
        now = time.monotonic()
        if not missing:
            self._since = None
        elif self._since is None:
            self._since = now
        elif now - self._since > RESOURCE_SECONDS:
            raise self._error(missing, offers)
        return not missing

    def _error(self, missing: Sequence[str], offers: Sequence[Mapping[str, float]]) -> DeviceError:
        names = sorted({f"{name}={amount:g}" for offer in offers for name, amount in offer.items()})
        count = f"{len(offers)} worker{'' if len(offers) == 1 else 's'}"
        needed = resource_of(missing[0])
        name = "" if needed is None else needed[0]
        return DeviceError(
            f"no worker has {' or '.join(missing)}",
            op="device",
            expected=f"what one of the {count} has: {', '.join(names)}"
            if names
            else f"workers with {name}; none of the {count} has any resource",
            got=", ".join(missing),
            remedy=f"start workers that have it: gl.cluster(resources={{{name!r}: 1}}), or "
            f"`dask worker --resources '{name}=1'`",
            location=_location(self._plan, missing[0]),
        )


def _offered(place: str, offers: Sequence[Mapping[str, float]]) -> bool:
    needed = resource_of(place)
    return needed is None or any([offer.get(needed[0], 0) >= needed[1] for offer in offers])


def _location(plan: Plan, place: str) -> str | None:
    """Return where the user wrote the first op at a place."""
    for raw, own in zip(plan.graph.sources, plan.places or (), strict=False):
        if own == place and raw is not None:
            return str(Source(*raw))
    return None


class LabelledCluster(LocalCluster):  # type: ignore[misc]  # distributed has no types
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
