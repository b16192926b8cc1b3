"""Executors: what a task costs, what branches side by side gain, steps on a cluster, and ``auto`` beside ``serial``.

Cluster benchmarks start worker processes of this machine.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.branches import PROGRAMS, at_once
from benchmarks.compare import known
from benchmarks.interleaved import least, paired, samples
from benchmarks.libraries import LIBRARIES, Call, argnums
from benchmarks.workloads import WORKLOADS
from gradloom.backend import backends
from gradloom.executor import SerialExecutor
from gradloom.plan import Plan
from gradloom.schedule import Schedule
from gradloom.tasks import Task

TASKS = 2_000
#: How many chunks the data-parallel gradient has: two workers have eight each, of some 60 ms. Data that is worth a
#: cluster has more (4 GB are 121 chunks in docs/scaling.md).
CHUNKS = 16
#: Samples of a chunk, and width of the layers. Cores share memory: narrow layers compute little with each number that
#: they read, so that a second core gains less than with wide ones.
LAYERS = {"narrow layers": (8_192, 96), "wide layers": (2_560, 176)}


def seconds_per_task() -> float:
    """Return what the threads executor adds to each of many tasks of one tiny kernel."""
    from gradloom_dask.threads import ThreadsExecutor

    x = np.ones(8)
    graph = gl.make_graph(lambda x: tuple([np.sin(x) for _ in range(TASKS)]))(x)
    plan = Plan(graph, backends.get("numpy"))
    executor = ThreadsExecutor(always=True)
    executor._schedules[plan] = Schedule(plan, [Task((k,), (), 1.0) for k in range(TASKS)])
    serial = SerialExecutor()
    serial.run(plan, [x])
    return (least(lambda: executor.run(plan, [x]), 10) - least(lambda: serial.run(plan, [x]), 10)) / TASKS


@contextmanager
def always(workers: int) -> Iterator[Any]:
    """Give an executor on some worker processes that sends them also what is small."""
    with gl.cluster(n_workers=workers) as executor:
        executor.always = True  # type: ignore[attr-defined]
        yield executor


def step_of_a_shipped_plan(executor: Any) -> Call:
    """Return a step of a plan of two small branches, which the workers hold."""
    gradient = gl.jit(gl.grad(lambda x, y: np.sum(np.sin(x)) * np.sum(np.cos(y)), argnums=(0, 1)), scheduler=executor)
    x = np.ones(8)
    return lambda: gradient(x, x)


def data_parallel(client: Any, rows: int, width: int) -> Call:
    """Return a gradient of a network on chunks that the workers of a client hold, each as many."""
    import dask.array as da

    from gradloom_dask.place import workers_of

    def loss(w: Any, v: Any, x: Any) -> Any:
        z = x
        for _ in range(4):
            z = np.tanh(z @ w)
        return np.mean((z @ v) ** 2)

    workers = sorted(workers_of(client))
    normal = da.random.default_rng(0).normal
    x = client.persist(
        da.concatenate(
            [
                client.persist(
                    normal(size=(rows, width), chunks=(rows, -1)), workers=workers[k * len(workers) // CHUNKS]
                )
                for k in range(CHUNKS)
            ]
        )
    )
    w, v = np.eye(width) + 0.01, np.ones((width, 1)) / width
    gradients = gl.grad(loss, argnums=(0, 1))
    return lambda: client.gather(client.compute(list(gradients(w, v, x))))


def on_clusters(layers: str, seconds: float) -> dict[str, list[float]]:
    """Return the seconds of the data-parallel gradient on one worker, on two, and twice at once on one worker each.

    What cores have to give varies from machine to machine, and on a shared one from minute to minute; the last call
    tells what two of them give now (see `capacity`).
    """
    with ExitStack() as stack:
        clients = [stack.enter_context(always(n))._connection.client for n in (1, 1, 2)]
        one, other, two = [data_parallel(client, *LAYERS[layers]) for client in clients]
        return samples(
            {"1 worker": one, "2 workers": two, "the same, twice at once": at_once(one, other)}, seconds, warm_up=4
        )


def speed_up(found: dict[str, list[float]], one: str, several: str) -> float:
    """Return how many times as fast a call is than one on a single core or worker."""
    return statistics.median(found[one]) / statistics.median(found[several])


def capacity(found: dict[str, list[float]], one: str) -> float:
    """Return how much more two busy cores do than one, which is the most that a second one can gain."""
    return 2.0 * speed_up(found, one, "the same, twice at once")


def auto_and_serial(workload: str, seconds: float) -> dict[str, list[float]]:
    """Return the seconds of a workload of the CPU benchmark by scheduler, ``serial`` twice, in turns."""
    whole = WORKLOADS[workload]
    params, data = whole.arrays()
    args = (*params, *data)
    gradient = gl.value_and_grad(whole.loss(LIBRARIES["gradloom"]), argnums(params))
    if whole.jit:
        gradient = gl.jit(gradient)

    def under(scheduler: str) -> Call:
        def call() -> Any:
            with gl.scheduler(scheduler):
                return gradient(*args)

        return call

    calls = {name: under(name) for name in ("serial", "threads", "auto")}
    return samples(calls | {"serial again": under("serial")}, seconds, rest=False)


#: What `measured` tells beside the workloads: tasks, programs, steps and the data-parallel gradients.
OTHERS = len(PROGRAMS) + len(LAYERS) + 2


def measured(seconds: float, workloads: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield what was measured, and how: of tasks and branches, of ``auto`` on some workloads, of clusters."""
    yield "a task in threads", f"{1e6 * seconds_per_task():.1f} us"
    for name, program in PROGRAMS.items():
        found = samples(program.calls(), seconds)
        yield name, f"{times(found)}\n{gain(found, 'serial, 1 core', 'threads')}"
    for name in workloads:
        found = auto_and_serial(name, seconds)
        ratios = [f"{other} {paired(found, other, 'serial'):.3f}" for other in ("auto", "threads", "serial again")]
        yield name, f"{times(found)}\nover serial, by rounds: {', '.join(ratios)}"
    with always(2) as executor:
        found = samples({"step": step_of_a_shipped_plan(executor)}, seconds / 2, 20)
    yield "step of a shipped plan, 2 workers", times(found)
    for layers in LAYERS:
        found = on_clusters(layers, seconds)
        yield f"data-parallel gradient, {layers}", f"{times(found)}\n{gain(found, '1 worker', '2 workers')}"


def times(found: dict[str, list[float]]) -> str:
    """Return the median and least times in words."""
    return "\n".join(
        f"{name} {1e3 * statistics.median(own):.3g} ms (least {1e3 * min(own):.3g})" for name, own in found.items()
    )


def gain(found: dict[str, list[float]], one: str, several: str) -> str:
    """Return the speed-up in words."""
    return f"{several} over {one}: {speed_up(found, one, several):.2f}; two cores could {capacity(found, one):.2f}"


class Overhead:
    """What a task costs beside its kernels."""

    def track_seconds_per_task_in_threads(self) -> float:
        return seconds_per_task()

    def track_step_of_a_shipped_plan(self) -> float:
        with always(2) as executor:
            return statistics.median(samples({"step": step_of_a_shipped_plan(executor)}, 2.0, 20)["step"])

    track_seconds_per_task_in_threads.unit = "s"  # type: ignore[attr-defined]
    track_step_of_a_shipped_plan.unit = "s"  # type: ignore[attr-defined]


class Branches:
    """Programs of independent branches: seconds over those of the best under another scheduler, or of a peer."""

    params = list(PROGRAMS)
    param_names = ["program"]
    timeout = 300

    def setup(self, program: str) -> None:
        self.found = samples(PROGRAMS[program].calls(), 4.0)
        self.seconds = {name: statistics.median(times) for name, times in self.found.items()}

    def track_speed_up_over_one_core(self, program: str) -> float:
        return speed_up(self.found, "serial, 1 core", "threads")

    def track_capacity_for_two_branches(self, program: str) -> float:
        return capacity(self.found, "serial, 1 core")

    def track_threads_to_best_peer(self, program: str) -> float:
        peers = [self.seconds[name] for name in PROGRAMS[program].peers if name in self.seconds]
        return known(self.seconds["threads"] / min(peers) if peers else None)

    track_speed_up_over_one_core.unit = "ratio"  # type: ignore[attr-defined]
    track_capacity_for_two_branches.unit = "ratio"  # type: ignore[attr-defined]
    track_threads_to_best_peer.unit = "ratio"  # type: ignore[attr-defined]


class Auto:
    """The default scheduler beside ``serial``."""

    params = list(WORKLOADS)
    param_names = ["workload"]
    timeout = 300

    def track_to_serial(self, workload: str) -> float:
        return paired(auto_and_serial(workload, 4.0), "auto", "serial")

    track_to_serial.unit = "ratio"  # type: ignore[attr-defined]


class DataParallel:
    """A gradient over chunks that worker processes hold."""

    params = list(LAYERS)
    param_names = ["layers"]
    timeout = 300

    def setup(self, layers: str) -> None:
        self.found = on_clusters(layers, 9.0)

    def track_speed_up_of_two_workers(self, layers: str) -> float:
        return speed_up(self.found, "1 worker", "2 workers")

    def track_capacity_for_two_workers(self, layers: str) -> float:
        return capacity(self.found, "1 worker")

    track_speed_up_of_two_workers.unit = "ratio"  # type: ignore[attr-defined]
    track_capacity_for_two_workers.unit = "ratio"  # type: ignore[attr-defined]
