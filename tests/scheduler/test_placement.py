"""Placement on clusters of worker processes: labelled ones, ones that lack what is asked for, ones that go."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import dask
import dask.array as da
import numpy as np
import pytest
from distributed import Client, LocalCluster, get_worker

import gradloom as gl
from gradloom.errors import ArgumentError, DeviceError
from gradloom.plan import Plan
from gradloom.testing.backends import assert_same_bits
from gradloom_dask import place, running
from gradloom_dask.backend import DaskBackend
from gradloom_dask.dask_graph import Placed
from gradloom_dask.place import workers_of

X = np.random.default_rng(0).normal(size=(60, 60)) / 8.0


@pytest.fixture(scope="module")
def labelled() -> Iterator[Any]:
    """Three worker processes: two have a "GPU", the last has two of "BIG"."""
    with gl.cluster(resources=[{"GPU": 1}, {"GPU": 1}, {"BIG": 2}]) as executor, gl.scheduler("serial"):
        yield executor


class Ran:
    """Which tasks ran where, since one last looked."""

    def __init__(self, executor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self._client = executor._connection.client
        self._needs: dict[str, str | None] = {}
        monkeypatch.setattr(running, "demands", self._demands)
        self.look()

    def _demands(self, prefix: str, tasks: Any) -> Any:
        self._needs.update({f"{prefix}-{t}": task.resource for t, task in enumerate(tasks)})
        return place.demands(prefix, tasks)

    def look(self) -> list[tuple[str, str | None, dict[str, float]]]:
        """Return worker, needed resource and resources of the worker for each task."""
        workers = workers_of(self._client)
        keys = self._client.run(_computed)
        return [
            (address, self._needs[key], workers[address]["resources"])
            for address, own in keys.items()
            for key in own
            if key in self._needs
        ]


def _computed(dask_worker: Any) -> list[str]:
    """Return the keys of the tasks that a worker ran, and forget them."""
    keys = [event[0] for event in dask_worker.state.log if len(event) > 1 and event[1] == "compute-task"]
    dask_worker.state.log.clear()
    return keys


def test_all_workers_are_told_while_a_client_looks_at_few() -> None:
    """What a client finds in the background is of the first few, and comes in place of what was asked for."""
    with (
        dask.config.set({"distributed.client.scheduler-info-interval": "1ms"}),
        LocalCluster(n_workers=7, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.wait_for_workers(7)
        assert {len(workers_of(client)) for _ in range(300)} == {7}
        assert client.submit(lambda: sorted(workers_of(get_worker()))).result() == sorted(workers_of(client))
    assert not workers_of(client)  # which has no scheduler any more


def loss(x: Any, w: Any) -> Any:
    """Two branches that need a GPU, one that needs two of BIG, and what needs nothing."""
    with gl.device("GPU"):
        a, b = x, x.T
        for _ in range(3):
            a = np.tanh(a @ w)
        for _ in range(3):
            b = np.tanh(b @ w.T)
    with gl.device("BIG=2"):
        c = np.linalg.inv(x + 20.0 * np.eye(len(x)))
    return np.sum(a * b * c)


def unplaced(x: Any, w: Any) -> Any:
    a, b = x, x.T
    for _ in range(3):
        a, b = np.tanh(a @ w), np.tanh(b @ w.T)
    return np.sum(a * b * np.linalg.inv(x + 20.0 * np.eye(len(x))))


@pytest.mark.parametrize("jitted", [False, True])
def test_tasks_run_where_the_resources_are(labelled: Any, jitted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little work it is, forward and backward; each of the two workers with a GPU gets a branch."""
    f = gl.value_and_grad(loss, argnums=(0, 1))
    f = gl.jit(f) if jitted else f
    value, gradients = gl.value_and_grad(unplaced, argnums=(0, 1))(X, X)
    results = []
    ran = Ran(labelled, monkeypatch)
    with gl.scheduler(labelled):
        for _ in range(3):
            results.append(f(X, X))
    for got, gots in results:
        np.testing.assert_allclose(got, value, rtol=1e-12)
        for one, other in zip(gots, gradients, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)
        assert got == results[0][0]
        assert_same_bits(gots[0], results[0][1][0])
        assert_same_bits(gots[1], results[0][1][1])
    tasks = ran.look()
    for _, resource, offered in tasks:
        if resource is not None:
            name, amount = resource.split("=")
            assert offered.get(name, 0) >= float(amount)
    assert {resource for _, resource, _ in tasks} == {"GPU=1", "BIG=2", None}
    if jitted:  # a plan that is not compiled is small: its branches are one task
        assert len({address for address, resource, _ in tasks if resource == "GPU=1"}) == 2


def test_a_client_whose_workers_have_resources() -> None:
    """Workers of others, labelled alike."""
    with (
        LocalCluster(n_workers=1, resources={"GPU": 2}, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        gl.scheduler(client),
    ):

        def f(x: Any) -> Any:
            with gl.device("GPU=2"):
                return np.sum(np.sin(x))

        assert_same_bits(gl.grad(f)(np.zeros(3)), np.ones(3))
        assert gl.compute(f(gl.tensor(np.zeros(3)))) == (0.0,)


def ask_for(name: str) -> Any:
    def f(x: Any) -> Any:
        with gl.device(name):
            return np.sum(np.sin(x))

    return f


def ask_elsewhere(name: str) -> Any:
    def f(x: Any) -> Any:
        with gl.device(name):
            y = np.sin(x)
            return np.sum(y)

    return f


@pytest.mark.parametrize("name", ["TPU", "GPU=2", "cupi"])
def test_a_resource_that_no_worker_has(labelled: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """dask would wait for such a worker without end."""
    monkeypatch.setattr(place, "RESOURCE_SECONDS", 0.5)
    start = time.monotonic()
    with gl.scheduler(labelled), pytest.raises(DeviceError, match="no worker has") as raised:
        gl.grad(ask_for(name))(X)
    assert time.monotonic() - start < 15
    text = str(raised.value)
    assert "expected: what one of the 3 workers has: BIG=2, GPU=1" in text
    assert "gl.cluster(resources={" in text
    for f in (ask_for(name), ask_elsewhere(name)):  # of one structure
        with gl.scheduler(labelled), pytest.raises(DeviceError) as raised:
            gl.grad(f)(X)
        assert raised.value.location == f"{__file__}:{f.__code__.co_firstlineno + 2}"
    with gl.scheduler(labelled):
        assert_same_bits(gl.grad(ask_for("GPU"))(np.zeros(2)), np.ones(2))


def test_workers_without_any_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(place, "RESOURCE_SECONDS", 0.2)
    with (
        gl.cluster(n_workers=1, processes=False),
        pytest.raises(DeviceError, match="workers with GPU; none of the 1 worker has any resource"),
    ):
        gl.grad(ask_for("GPU"))(X)


def test_devices_that_the_backend_has_not(labelled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It raises before anything is sent."""
    ran = Ran(labelled, monkeypatch)
    for name, why in (("numpy:1", "has 1 device here"), ("cupy:1", "cannot run here")):
        with gl.scheduler(labelled), pytest.raises(DeviceError, match=why):
            gl.grad(ask_for(name))(X)
    assert not ran.look()


def slow(x: Any) -> Any:
    """Return after about a second on a worker with a BIG."""
    with gl.device("BIG"):
        y = x
        for _ in range(120):
            y = np.tanh(y @ x)
    return np.sum(y)


LARGE = np.random.default_rng(1).normal(size=(500, 500)) / 22.0


def run_in_thread(executor: Any) -> tuple[threading.Thread, list[Any]]:
    """Run `slow` on a cluster, and wait until its task runs."""
    got: list[Any] = []

    def work() -> None:
        try:
            with gl.scheduler(executor):
                got.append(gl.jit(slow)(LARGE))
        except BaseException as error:
            got.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() and not any(executor._connection.client.processing().values()):
        time.sleep(0.01)
    return thread, got


@pytest.mark.slow
def test_workers_with_the_resource_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed, the worker comes back with its resource and the run goes on; once it has gone for good, that is said."""
    monkeypatch.setattr(place, "RESOURCE_SECONDS", 20.0)
    with gl.cluster(resources=[{"BIG": 1}, {}]) as executor:
        expected = gl.jit(slow)(LARGE)
        client = executor._connection.client  # type: ignore[attr-defined]
        thread, got = run_in_thread(executor)
        (big,) = [a for a, w in workers_of(client).items() if w["resources"].get("BIG")]
        os.kill(client.run(os.getpid, workers=[big])[big], signal.SIGKILL)
        thread.join(60)
        assert got == [expected]
        monkeypatch.setattr(place, "RESOURCE_SECONDS", 1.0)
        thread, got = run_in_thread(executor)
        (big,) = [a for a, w in workers_of(client).items() if w["resources"].get("BIG")]
        client.retire_workers([big], close_workers=True)
        thread.join(60)
        assert not thread.is_alive()
        assert isinstance(got[0], DeviceError), got
        assert "no worker has BIG=1" in str(got[0])


def mean(w: Any, x: Any) -> Any:
    with gl.device("GPU"):
        z = np.tanh(x @ w)
    return np.mean(z**2)


ROWS = da.from_array(np.random.default_rng(2).normal(size=(96, 3)), chunks=(8, 3))


def test_chunks_run_where_the_resources_are(labelled: Any) -> None:
    """Each block on a worker with a GPU, however dask computes it; what follows the sums anywhere."""
    client = labelled._connection.client
    w = np.ones(3)
    lazy = gl.value_and_grad(mean)(w, ROWS)
    expected = gl.value_and_grad(mean_at_home)(w, ROWS.compute())
    client.run(_computed)
    for got in (
        dask.compute(*lazy, scheduler=client),
        client.gather(client.compute(list(lazy))),
        [dask.compute(one, scheduler=client)[0] for one in client.persist(lazy)],
    ):
        np.testing.assert_allclose(got[0], expected[0], rtol=1e-13)
        np.testing.assert_allclose(got[1], expected[1], rtol=1e-13)
    workers = workers_of(client)
    ran = {
        address: [key for key in keys if str(key).startswith("gradloom-block-")]
        for address, keys in client.run(_computed).items()
    }
    assert len({key for keys in ran.values() for key in keys}) == ROWS.numblocks[0]
    assert all(workers[address]["resources"].get("GPU") for address, keys in ran.items() if keys)
    with dask.config.set({"optimization.fuse.active": False}):
        np.testing.assert_allclose(dask.compute(lazy[1] + 1.0, scheduler=client)[0], expected[1] + 1.0, rtol=1e-13)
    # dask forgets what a task needs when it fuses it with others; such a task says so instead of running elsewhere.
    (other,) = [address for address, worker in workers.items() if not worker["resources"].get("GPU")]
    with pytest.raises(DeviceError, match=r"optimization\.fuse\.active"):
        client.compute(lazy[1] + 1.0, workers=[other]).result()


def mean_at_home(w: Any, x: Any) -> Any:
    return np.mean(np.tanh(x @ w) ** 2)


@pytest.mark.parametrize("optimize_graph", [False, True])
def test_lazy_tensors_run_where_the_resources_are(labelled: Any, optimize_graph: bool) -> None:
    """Their tasks, as cut by gradloom, or each tensor as a whole; as above, they raise elsewhere."""
    client = labelled._connection.client
    x = gl.tensor(X)
    y = ask_for("GPU")(x)
    for _ in range(3):
        client.run(_computed)
        got = dask.compute(y, *gl.gradients(y, [x]), scheduler=client, optimize_graph=optimize_graph)
        np.testing.assert_allclose(got[0], np.sum(np.sin(X)), rtol=1e-12)
        assert_same_bits(got[1], np.cos(X))
        cut = [key for keys in client.run(_computed).values() for key in keys if str(key).startswith("gradloom.plan-")]
        assert len(cut) == optimize_graph


@pytest.mark.parametrize("name", ["TPU", "GPU=2"])
def test_dask_asks_for_a_resource_that_no_worker_has(labelled: Any, name: str) -> None:
    """In seconds, though dask would wait without end; also where each resource is there, but on different workers."""
    client = labelled._connection.client
    client.run(_wait_less)
    x = gl.tensor(X)
    for lazy, optimize_graph in (
        (gl.grad(lambda w: ask_for(name)(ROWS @ w))(np.ones(3)), True),
        (ask_for(name)(x), True),
        (ask_for(name)(x), False),
        (gl.grad(lambda w: ask_for("BIG=2")(ROWS @ w) * ask_for("GPU")(ROWS @ w))(np.ones(3)), True),
    ):
        start = time.monotonic()
        with pytest.raises(DeviceError, match="no worker has") as raised:
            dask.compute(lazy, scheduler=client, optimize_graph=optimize_graph)
        assert time.monotonic() - start < 15
        assert "test_placement.py" in str(raised.value)


def _wait_less() -> None:
    place.RESOURCE_SECONDS = 0.3


def test_dask_computes_in_this_process() -> None:
    """There are no workers: that is refused, not ignored; devices of this process do as always."""
    x = gl.tensor(np.ones(3))
    for lazy in (gl.grad(lambda w: ask_for("GPU")(ROWS @ w))(np.ones(3)), ask_for("GPU")(x)):
        for scheduler in ("threads", "sync"):
            with pytest.raises(DeviceError, match="a process that is no worker"):
                dask.compute(lazy, scheduler=scheduler)
    gradient = gl.grad(lambda w: ask_for("numpy")(da.ones((20, 3), chunks=(10, 3)) @ w))(np.ones(3))
    np.testing.assert_allclose(gradient, np.full(3, 20 * np.cos(3.0)), rtol=1e-14)


def test_lists_of_resources() -> None:
    for resources, n_workers in (([{"GPU": 1}], 2), ([], None)):
        with (
            pytest.raises(ArgumentError, match=r"one for each|list of 2"),
            gl.cluster(n_workers, resources=resources),
        ):
            raise AssertionError


def test_plans_know_their_resources() -> None:
    from gradloom.backend import backends

    graph = gl.make_graph(loss)(X, X)
    assert Plan(graph, backends.get("numpy")).resources == {"GPU=1", "BIG=2"}


def test_placed_results_are_chunked_data() -> None:
    """What was computed on workers with a resource is an input like any dask array."""
    backend = DaskBackend()
    assert backend.recognises(Placed)
    assert not backend.recognises(np.ndarray)
