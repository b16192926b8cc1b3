"""ClusterSite: what a plan takes on workers, and what lies between these and the client, as measured."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, final

import numpy as np
from distributed import Client, Future, as_completed, get_worker

import gradloom as gl
from gradloom.backend import backends
from gradloom.plan import Plan
from gradloom.sharing import cores
from gradloom.simulate import Link
from gradloom.site import AbstractSite, on_one_core, run_alone, seconds_of
from gradloom.tasks import Task
from gradloom_dask.dask_graph import Call, named_graph
from gradloom_dask.packing import fingerprint, unpack
from gradloom_dask.place import workers_of
from gradloom_dask.replies import SMALL
from gradloom_dask.running import Connection
from gradloom_dask.shipped import Shipped

#: Plans that tell what lies between workers: so many tasks that do next to nothing, and outputs of so many elements.
TASKS, ELEMENTS = 16, 1_000_000
#: How often they run; what is sent at the first run does not count.
REPEATS = 3

Run = Callable[[], Any]


@final
class ClusterSite(AbstractSite):
    """The workers of a client.

    Parameters
    ----------
    connection : Connection
    shipped : Shipped
        The plan.
    plan : Plan
    values : sequence of arrays
        Its inputs.
    """

    def __init__(self, connection: Connection, shipped: Shipped, plan: Plan, values: Sequence[Any]) -> None:
        self._connection = connection
        self._shipped = shipped
        self._plan = plan
        self._values = values
        found = workers_of(connection.client)
        #: The first threads of all workers, and then the second ones.
        slots = sorted([(n, address) for address, worker in found.items() for n in range(worker["nthreads"])])
        self._lanes = [address for _, address in slots]
        self._runs = itertools.count()
        self._messages = _messages(connection, self._lanes[0])

    def alone(self) -> tuple[float, list[float]]:
        """Run it on a worker; see `AbstractSite.alone`."""
        ((whole, *steps),) = self._run(self._lanes[:1], True)
        return whole, steps

    def at_once(self) -> float:
        """Run it on two workers, one after the other where there is one; see `AbstractSite.at_once`."""
        lanes = (self._lanes * 2)[:2]
        seconds = [whole for whole, *_ in self._run(lanes, False)]
        return max(seconds) if len(self._lanes) > 1 else sum(seconds)

    def _run(self, lanes: Sequence[str], by_steps: bool) -> list[list[float]]:
        """Run it on some workers at the same time; return what each notes."""
        connection, shipped = self._connection, self._shipped
        sent = connection.send(shipped, self._plan, dict(zip(self._plan.graph.inputs, self._values, strict=True)))
        futures = []
        for address in lanes:
            key = f"gradloom-measured-{shipped.name}-{id(self):x}-{next(self._runs)}"
            args = shipped.name, by_steps, tuple([sent.names.get(i) for i in sent.values])
            graph = named_graph(key, {key: Call(measured, args, list(sent.values.values()))})
            futures += connection.client.get(graph, [key], workers=[address], allow_other_workers=False, sync=False)
        found: list[list[float]] = connection.wait(connection.client.gather(futures, asynchronous=True), sent.held)
        return found

    def link(self) -> Link:
        """Measure what lies between client and workers: the least of some times counts."""
        least: dict[str, float] = {}
        for _ in range(REPEATS):
            for name, run in self._messages.items():
                worked = time.process_time()
                for key, seconds in ((name, seconds_of(run)), (f"{name}, caller", time.process_time() - worked)):
                    least[key] = min(seconds, least.get(key, seconds))
        return link_of(least, self._local() and len(self._lanes) >= cores())

    def _local(self) -> bool:
        """Return whether the workers are processes of this machine."""
        return all([address.startswith("tcp://127.0.0.1:") for address in self._lanes])


async def _any(client: Client, futures: Iterable[Future]) -> None:
    """Wait for the first of some futures that is there."""
    async for _ in as_completed(futures, loop=client.loop):
        return


def measured(
    name: str, by_steps: bool, outputs: Sequence[int | None], values: Sequence[Any], others: Any
) -> list[float]:
    """Run a plan on the worker that this is, on one core; return the seconds of that, and those of its steps after.

    Parameters
    ----------
    name : str
        Name of the plugin that holds the plan.
    by_steps : bool
        Whether to run it step by step too.
    outputs : sequence of int or None
        Which output of an earlier run each value is, where it comes as such.
    values : sequence
    others : sequence
        Nothing.
    """
    plan, _ = get_worker().plugins[name].load()
    given = [unpack(value if i is None else value.values[i]) for i, value in zip(outputs, values, strict=True)]
    if by_steps:
        whole, steps = run_alone(plan, given)
        return [whole, *steps]
    return [seconds_of(lambda: on_one_core(lambda: plan.run(given)))]


def link_of(seconds: dict[str, float], shared: bool) -> Link:
    """Return what lies between client and workers.

    Parameters
    ----------
    seconds : dict
        What `_messages` take on one worker, and what the calling process works on them.
    shared : bool
        Whether workers take all cores, and lose what client and scheduler work on a task.

    Notes
    -----
    Of 16 tasks more than of one, the first ends later by what the caller spends on each before any starts, a chain has
    a latency and a task for each, a fan-in a latency and tasks one after the other on the worker, tasks apart have as
    many values one after the other at the client.
    """
    more = {key: seconds[key] - seconds["one task"] for key in ("first", "chain", "fan-in", "tasks", "output")}
    each = TASKS - 1
    caller = max(more["first"] / each, 0.0)
    task = max((more["fan-in"] - more["chain"] / each) / each, 1e-4)
    latency = max(more["chain"] / each - task, 1e-4)
    value = max(more["tasks"] / each - task, 0.0)
    worked = (seconds["tasks, caller"] - seconds["one task, caller"]) / each if shared else 0.0
    return Link(
        bandwidth=8 * ELEMENTS / max(more["output"], 1e-6),
        latency=latency,
        task_seconds=max(task - caller, 1e-4) + max(worked - caller, 0.0),
        caller_seconds=caller,
        value_seconds=value,
        hashing=32 * ELEMENTS / seconds["hash"],
        run_seconds=max(seconds["one task"] - task - value - 2.0 * latency, 0.0),
    )


def _messages(connection: Connection, worker: str) -> dict[str, Run]:
    """Return runs on a worker by which `link_of` tells what lies between it and the client."""
    x = np.ones(SMALL // 8 + 1)  # what is smaller comes without being asked for
    large = np.ones(4 * ELEMENTS)  # more than the cache holds

    def chained(x: Any) -> Any:
        for _ in range(TASKS):
            x = np.sin(x)
        return x

    def many(x: Any) -> list[Any]:
        return [np.sin(x) for _ in range(TASKS)]

    def sent(f: Callable[..., Any], tasks: list[Task], *args: Any) -> tuple[Shipped, Plan, Sequence[Any]]:
        plan = Plan(gl.make_graph(f)(*args), backends.get("numpy"))
        shipped = connection.shipments.add(plan, tasks, None, 1)
        shipped.home = worker
        return shipped, plan, args

    def run(f: Callable[..., Any], tasks: list[Task], *args: Any) -> Run:
        return partial(connection.run, *sent(f, tasks, *args), (), 1)

    apart = [Task((k,), (), 0.0) for k in range(TASKS)]
    links = [Task((k,), (k - 1,) if k else (), 0.0) for k in range(TASKS)]
    joined = Task((TASKS,), tuple(range(TASKS)), 0.0)
    whole = sent(lambda x: tuple(many(x)), apart, x)

    def first() -> None:
        futures = connection.submit(*whole, whole[0].results).futures
        connection.wait(_any(connection.client, futures.values()))

    return {
        "one task": run(np.sin, apart[:1], x),
        "first": first,
        "tasks": partial(connection.run, *whole, (), 1),
        "chain": run(chained, links, x),
        "fan-in": run(lambda x: np.concatenate(many(x)), [*apart, joined], x),
        "output": run(lambda s: np.broadcast_to(s, (ELEMENTS,)) + 1.0, [Task((0, 1), (), 0.0)], x[0]),
        "hash": lambda: fingerprint(large),
    }
