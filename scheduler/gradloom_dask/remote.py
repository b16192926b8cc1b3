"""Values that stay on the workers of a client from one run to the next, and how they are made again if they are lost.

Where workers take values with them, the runs that made those begin again, from what is still there or what the
client has. Now and then the last values of a long chain of runs are fetched, and what went before is forgotten: so
neither these notes nor those of the scheduler grow with the number of steps.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import CancelledError
from typing import Any, final

import numpy as np
from distributed import Future
from distributed.client import FuturesCancelledError
from distributed.scheduler import KilledWorker

from gradloom.backend import spec_of
from gradloom.errors import ArgumentError, SchedulerError
from gradloom.executor import AbstractWorkers
from gradloom.plan import Plan
from gradloom.spec import Spec
from gradloom_dask.cluster import TRIES
from gradloom_dask.kept import CHAIN_BYTES, CHAIN_RUNS, LARGE, Fingerprint, Held
from gradloom_dask.lineage import (
    Data,
    Output,
    Remote,
    Run,
    input_again,
    lost_for_good,
    runs_of,
    still_there,
    together,
    watch_of,
)
from gradloom_dask.packing import pack, unpack, writable
from gradloom_dask.running import Connection, not_kept
from gradloom_dask.shipped import Shipped
from gradloom_dask.worker import PlanMissingError, Result

#: What says that values are lost.
_LOST = (CancelledError, FuturesCancelledError, PlanMissingError)


@final
class RemoteWorkers(AbstractWorkers):
    """The workers of a client, and the values that they keep.

    Parameters
    ----------
    connection : Connection
    ship : callable
        Returns how a plan runs there.
    """

    def __init__(self, connection: Connection, ship: Callable[[Plan], Shipped]) -> None:
        self._connection = connection
        self._ship = ship
        self._specs: weakref.WeakKeyDictionary[Future, Spec] = weakref.WeakKeyDictionary()
        self._lock = threading.RLock()

    def holds(self, value: Any) -> Remote | None:
        """Return a value that is on these workers, also where a future of their client stands for it."""
        if type(value) is Remote:
            return value if value.workers is self else None
        if not isinstance(value, Future):
            return None
        client = self._connection.client
        if value.client is not client:
            raise ArgumentError(
                "a future belongs to another client",
                op="scheduler",
                expected=f"one of the client of {client.scheduler.address}",
                got=f"one of the client of {value.client.scheduler.address}",
                remedy="choose the scheduler by the client whose future it is",
            )
        spec = self._specs.get(value)
        if spec is None:
            spec = self._specs[value] = _require_spec(client.submit(describe, value, pure=False).result())
        return Remote(self, spec, value, Held(value))

    def send(self, value: Any) -> Remote:
        """Send an array or number that nobody changes."""
        spec = spec_of(value)
        assert spec is not None
        return Remote(self, spec, Data(value), Held(self._connection.scatter(pack(value))))

    def begin(self, plan: Plan, inputs: Sequence[Any]) -> list[Remote]:
        """Begin a run; see `AbstractWorkers.begin`."""
        with self._lock:
            made = self._begun(plan, inputs)
        return [made[i] if i in made else self.send(plan.constants[i]) for i in plan.outputs]

    def _begun(self, plan: Plan, inputs: Sequence[Any]) -> dict[int, Remote]:
        """Begin a run; return the outputs that are computed, by id."""
        there = [value for value in inputs if type(value) is Remote]
        self._shorten(there)
        self.make_again([remote for remote in there if remote.lost])
        run = Run(self._ship(plan), plan)
        given = [_unchanging(value) for value in inputs]
        found, prints = self._submit(run, [v.standing if type(v) is Remote else v for v in given])
        run.follow(given, prints)
        specs = dict(zip(plan.outputs, plan.graph.output_specs(), strict=True))
        made = {i: Remote(self, specs[i], Output(run, i), held) for i, held in found.items()}
        run.outputs.update(made)
        return made

    def _submit(self, run: Run, inputs: Sequence[Any]) -> tuple[dict[int, Held], dict[int, Fingerprint]]:
        """Hand a run to the scheduler; return where its outputs will stand, and what tells its large inputs."""
        staying = run.shipped.staying
        for _ in range(TRIES):
            try:
                found = self._connection.submit(run.shipped, run.plan, inputs, list(staying))
            except CancelledError as error:  # a worker died that was being sent to
                self._connection.send_again(error)
                continue
            run.prefix = found.prefix
            groups = zip(found.futures.values(), staying.values(), strict=True)
            return {i: Held(future, i) for future, ids in groups for i in ids}, found.prints
        raise not_kept()

    def fetch(self, remotes: Iterable[Remote]) -> None:
        """Bring values here, or their errors; with each come those that stand under the same key."""
        wanted = [remote for remote in remotes if type(remote.origin) is not Data and remote.error is None]
        for attempt in range(TRIES if wanted else 0):
            futures = {remote.held.future.key: remote.held.future for remote in wanted if remote.held is not None}
            try:
                gathering = self._connection.client.gather(list(futures.values()), asynchronous=True)
                found = dict(zip(futures, self._connection.wait(gathering, (), watch_of(wanted)), strict=True))
            except KilledWorker as error:
                raise self._killed(error, wanted) from error
            except _LOST as error:
                self._connection.send_again(error)
                if attempt == TRIES - 1:
                    raise lost_for_good(wanted, error) from error
                self.make_again(wanted)
            else:
                for other in {other for remote in wanted for other in together(remote)}:
                    if other.held is not None and other.held.future.key in found:
                        _settle(other, found[other.held.future.key])
                return

    def _shorten(self, remotes: Sequence[Remote]) -> None:
        """Fetch all that is in use of a chain of runs that is long, and send what is large of it again, on its own."""
        long = [r for r in remotes if r.length >= CHAIN_RUNS or r.sent >= CHAIN_BYTES]
        if not long:
            return
        living = {*long, *[remote for run in runs_of(long) for remote in run.outputs.values()]}
        self.fetch(living)
        groups: dict[str, list[Remote]] = {}
        for remote in living:
            if remote.error is not None:
                raise remote.error
            if remote.held is not None:
                groups.setdefault(remote.held.future.key, []).append(remote)
        for group in groups.values():
            values = {n: pack(r.origin.value) for n, r in enumerate(group) if type(r.origin) is Data}
            small = all([r.spec.nbytes <= LARGE for r in group])
            future = None if small else self._connection.scatter(Result(values))
            for n, remote in enumerate(group):
                remote.held = None if future is None else Held(future, n)
                remote.length = remote.sent = 0

    # -- loss ------------------------------------------------------------------------------

    def make_again(self, lost: Sequence[Remote]) -> None:
        """Begin the runs again that made values, and those before them whose outputs are not there either."""
        with self._lock:
            self._begin_again(lost)

    def _begin_again(self, lost: Sequence[Remote]) -> None:
        needed: set[Run] = set()
        for remote in lost:
            if type(remote.origin) is Data:
                remote.held = Held(self._connection.scatter(pack(remote.origin.value)))
        stack = [remote.origin.run for remote in lost if type(remote.origin) is Output]
        while stack:
            run = stack.pop()
            if run not in needed:
                needed.add(run)
                stack += [o.run for o in run.origins if type(o) is Output and still_there(o, lost) is None]
        made: dict[Output, Held] = {}
        for run in sorted(needed, key=lambda run: run.length):
            inputs = []
            for origin in run.origins:
                again = made.get(origin) if type(origin) is Output else None
                inputs.append(input_again(run, origin, lost) if again is None else again)
            found, _ = self._submit(run, inputs)
            for i, held in found.items():
                made[Output(run, i)] = held
                if i in run.outputs:
                    run.outputs[i].held = held

    def _killed(self, error: KilledWorker, remotes: Sequence[Remote]) -> SchedulerError:
        """Return the error for a task that ended several workers."""
        runs = runs_of(remotes)
        run = next((run for run in runs if str(error.task).startswith(f"{run.prefix}-")), None)
        if run is None:
            return SchedulerError(
                "a task of yours ended its workers",
                op="scheduler",
                expected="a future whose task ends and leaves its worker alive",
                got=str(error),
                remedy="see the workers' logs; give the task less data, or its workers more memory",
            )
        return self._connection.killed(error, run.shipped, run.plan)


def describe(value: Any) -> Spec | str:
    """Return the spec of a value on a worker, or its type where it is no array."""
    return spec_of(value) or type(value).__name__


def _require_spec(found: Spec | str) -> Spec:
    if type(found) is str:
        raise ArgumentError(
            "a future stands for something that is no array",
            op="scheduler",
            expected="futures of arrays and numbers",
            got=found,
            remedy="let the task return an array: client.submit(np.asarray, future)",
        )
    assert isinstance(found, Spec)
    return found


def _unchanging(value: Any) -> Any:
    """Return a small array as a copy: it travels later, and perhaps again. Of a large one the fingerprint tells."""
    return value.copy(order="K") if type(value) is np.ndarray and value.nbytes <= LARGE else value


def _settle(remote: Remote, found: Any) -> None:
    """Note the value that somebody has looked at."""
    if remote.held is not None and remote.held.output is not None:
        if found.error is not None:
            remote.error = found.error
            return
        found = found.values[remote.held.output]
    remote.origin = Data(writable(unpack(found)))
