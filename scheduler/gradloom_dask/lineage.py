"""Lineage: where values on the workers come from, and how they are made again if they are lost.

Each run that leaves its outputs on the workers is noted, with what it took, as long as something that follows from it
is in use.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, final

from gradloom.errors import SchedulerError
from gradloom.plan import Plan
from gradloom.spec import Spec
from gradloom_dask.cluster import TRIES
from gradloom_dask.kept import Fingerprint, Held
from gradloom_dask.packing import fingerprint, pack
from gradloom_dask.place import Watch
from gradloom_dask.shipped import Shipped


class Data(NamedTuple):
    """A value that the client has; with its fingerprint where its owner may have changed it since."""

    value: Any
    fingerprint: Fingerprint | None = None


class Output(NamedTuple):
    """An output of a run."""

    run: Run
    i: int


#: Where a value comes from: what is neither is a future of the user.
Origin = Data | Output | Any


@final
class Run:
    """A run that left its outputs on the workers, and all it takes to begin it again.

    Attributes
    ----------
    prefix : str
        Of the keys of its tasks.
    origins : list
        Its inputs.
    outputs : mapping
        Those that are in use, by id.
    length, sent : int
        How many runs follow each other up to this one, and the bytes they were sent.
    """

    def __init__(self, shipped: Shipped, plan: Plan) -> None:
        self.shipped = shipped
        self.plan = plan
        self.prefix = ""
        self.origins: list[Origin] = []
        self.outputs: weakref.WeakValueDictionary[int, Remote] = weakref.WeakValueDictionary()
        self.length = 1
        self.sent = 0

    def follow(self, inputs: Sequence[Any], prints: Mapping[int, Fingerprint]) -> None:
        """Note what the run took: arrays and values on the workers."""
        for i, value in zip(self.plan.graph.inputs, inputs, strict=True):
            if type(value) is Remote:
                self.origins.append(value.origin)
                self.length = max(self.length, value.length + 1)
                self.sent = max(self.sent, value.sent)
            else:
                self.origins.append(Data(value, prints.get(i)))
        known = {id(o.value) for run in self.before() for o in run.origins if type(o) is Data}
        new = {id(o.value): o for o in self.origins if type(o) is Data and o.fingerprint}
        self.sent += sum([o.value.nbytes for key, o in new.items() if key not in known])

    def before(self) -> list[Run]:
        """Return the runs whose outputs this one took."""
        return [origin.run for origin in self.origins if type(origin) is Output]


class Keeper(Protocol):
    """What keeps values on workers: see `gradloom_dask.remote.RemoteWorkers`."""

    def fetch(self, remotes: Iterable[Remote]) -> None:
        """Bring values here."""

    def make_again(self, lost: Sequence[Remote]) -> None:
        """Make values again that are lost."""


@final
class Remote:
    """A value on the workers.

    Attributes
    ----------
    spec : Spec
    origin : Data, Output or Future
        How it is made again: a value that somebody has looked at is here too.
    held : Held or None
        Where it stands, if not only here.
    length, sent : int
        Those of the run that made it, for what the scheduler still knows of it.
    """

    def __init__(self, workers: Keeper, spec: Spec, origin: Origin, held: Held) -> None:
        self.workers = workers
        self.spec = spec
        self.origin = origin
        self.held: Held | None = held
        self.error: Exception | None = None
        self.length = origin.run.length if type(origin) is Output else 0
        self.sent = origin.run.sent if type(origin) is Output else 0

    def result(self) -> Any:
        """Return the value; wait for it where it is still being computed."""
        self.workers.fetch([self])
        if self.error is not None:
            raise self.error
        assert type(self.origin) is Data
        return self.origin.value

    @property
    def standing(self) -> Any:
        """What stands for it as an input: where it is, or itself."""
        return self.origin.value if self.held is None and type(self.origin) is Data else self.held

    def in_graph(self) -> Any:
        """Return what stands for it in a graph of dask: `Held`, or an array."""
        if self.lost:
            self.workers.make_again([self])
        return self.standing

    @property
    def lost(self) -> bool:
        """Whether it is known not to be there any more."""
        return self.held is not None and self.held.future.status in ("cancelled", "lost")


def together(remote: Remote) -> list[Remote]:
    """Return all outputs of the run that made a value."""
    return list(remote.origin.run.outputs.values()) if type(remote.origin) is Output else [remote]


def runs_of(remotes: Iterable[Remote]) -> set[Run]:
    """Return the runs that values come from, as far back as they are noted."""
    found: set[Run] = set()
    stack = [remote.origin.run for remote in remotes if type(remote.origin) is Output]
    while stack:
        run = stack.pop()
        if run not in found:
            found.add(run)
            stack += run.before()
    return found


def watch_of(remotes: Sequence[Remote]) -> Watch | None:
    """Return what sees to it that values are not waited for forever."""
    for remote in remotes:
        if type(remote.origin) is Output and remote.origin.run.plan.resources:
            plan = remote.origin.run.plan
            return Watch(plan.graph, [frozenset([place]) for place in plan.resources])
    return None


def still_there(origin: Output, lost: Sequence[Remote]) -> Any:
    """Return what stands for an output of a run that is still in use and, as far as is known, there."""
    remote = origin.run.outputs.get(origin.i)
    if remote is None or ((remote in lost or remote.lost) and type(remote.origin) is not Data):
        return None
    return remote.origin.value if remote.lost and type(remote.origin) is Data else remote.standing


def input_again(run: Run, origin: Origin, lost: Sequence[Remote]) -> Any:
    """Return an input of a run that begins again, if it is not made again."""
    if type(origin) is Output:
        return still_there(origin, lost)
    if type(origin) is not Data:
        future: Any = origin
        if future.status in ("finished", "pending"):
            return Held(future)
        raise _cannot(run, "a future of yours, whose value is lost with its worker", "keep a copy of the data")
    if origin.fingerprint is not None and fingerprint(pack(origin.value)) != origin.fingerprint:
        got = f"an array of shape {origin.value.shape} that has changed in place since"
        raise _cannot(run, got, "do not change arrays that steps were given, or give them copies")
    return origin.value


def _cannot(run: Run, got: str, remedy: str) -> SchedulerError:
    return SchedulerError(
        "values are lost with their workers, and the run that made them cannot begin again; it runs "
        f"{run.shipped.describe(0, run.plan)}",
        op="scheduler",
        expected="its inputs, as they were",
        got=got,
        remedy=remedy,
    )


def lost_for_good(remotes: Sequence[Remote], cause: BaseException) -> SchedulerError:
    """Return the error for values that are lost again and again."""
    for remote in remotes:
        if type(remote.origin) is Output:
            return remote.origin.run.shipped.lost(remote.origin.run.plan, TRIES, cause)
    return SchedulerError(
        "a future of yours has lost its value with its worker",
        op="scheduler",
        expected="a future whose value a worker has",
        got=str(cause),
        remedy="keep a copy of the data, or compute it again",
    )
