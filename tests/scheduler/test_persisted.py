"""Values that stay on the workers from one step to the next, until somebody looks."""

from __future__ import annotations

import gc
import os
import signal
import time
import warnings
from collections.abc import Iterator
from typing import Any

import dask
import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

import gradloom as gl
from gradloom.errors import ArgumentError, SchedulerError
from gradloom.testing.backends import assert_same_bits
from gradloom_dask import remote
from gradloom_dask.lineage import Run

GENERATOR = np.random.default_rng(0)
FIRST = {"a": GENERATOR.normal(size=(4, 300)), "b": GENERATOR.normal(size=(300, 300))}
BATCHES = GENERATOR.normal(size=(200, 8, 4))


def loss(params: Any, x: Any) -> Any:
    return np.mean((np.tanh(x @ params["a"]) @ params["b"]) ** 2)


def step(params: Any, x: Any) -> Any:
    value, gradients = gl.value_and_grad(loss)(params, x)
    return {name: params[name] - 0.1 * gradients[name] for name in params}, value


fast = gl.jit(step)


def serial(steps: int, batches: Any = BATCHES) -> Any:
    """Return the parameters after some steps, and the losses."""
    params, losses = FIRST, []
    with gl.scheduler("serial"):
        for x in batches[:steps]:
            params, value = fast(params, x)
            losses.append(value)
    return params, losses


def persisted(tree: Any = FIRST) -> Any:
    """Return parameters on the workers of the scheduler that is chosen."""
    return dask.persist({name: gl.tensor(value) for name, value in tree.items()})[0]


def assert_equal(params: Any, expected: Any) -> None:
    for name, value in expected.items():
        assert_same_bits(np.asarray(params[name]), value)


def tasks(executor: Any) -> int:
    client = executor._connection.client
    return int(client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))


@pytest.fixture
def _on_workers(workers: Any) -> Iterator[None]:
    with gl.scheduler(workers):
        yield


@pytest.mark.usefixtures("_on_workers")
class TestTraining:
    def test_nothing_crosses_until_somebody_looks(self, workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Only batches go up; a look at the loss brings what is small; the bits are those of serial."""
        moved: list[int] = []
        gather, scatter = Client.gather, Client.scatter

        def gathering(self: Any, futures: Any, **options: Any) -> Any:
            async def counted(coroutine: Any) -> Any:
                found = await coroutine
                moved.extend([v.nbytes for result in found for v in result.values.values()])
                return found

            return counted(gather(self, futures, **options))

        def scattering(self: Any, data: Any, **options: Any) -> Any:
            moved.extend([getattr(value, "nbytes", 0) for value in data.values()])
            return scatter(self, data, **options)

        expected, losses = serial(100)
        params = persisted()
        monkeypatch.setattr(Client, "gather", gathering)
        monkeypatch.setattr(Client, "scatter", scattering)
        monkeypatch.setattr(remote, "CHAIN_RUNS", 1000)
        monkeypatch.setattr(workers, "always", False)
        for k, x in enumerate(BATCHES[:100]):
            params, value = fast(params, x)
            if k % 10 == 0:
                assert float(value) == losses[k]
                assert f"{value:.3f}" == f"{losses[k]:.3f}"
        assert moved == [FIRST["a"].nbytes, 8] * 10 or moved == [8, FIRST["a"].nbytes] * 10
        assert all([isinstance(p, gl.Tensor) and p.shape == FIRST[name].shape for name, p in params.items()])
        assert_equal(params, expected)

    @pytest.mark.parametrize("alive", [False, True])
    def test_chains_are_bounded(self, workers: Any, monkeypatch: pytest.MonkeyPatch, alive: bool) -> None:
        """Neither scheduler nor client note all steps, also where the first parameters and all losses are in use."""
        monkeypatch.setattr(remote, "CHAIN_RUNS", 8)
        params = first = persisted()
        if not alive:
            del first
        kept = []
        for x in BATCHES:
            params, value = fast(params, x)
            if alive:
                kept.append(value)
        expected, losses = serial(len(BATCHES))
        gc.collect()
        assert sum([type(o) is Run for o in gc.get_objects()]) < 20
        assert_equal(params, expected)
        assert tasks(workers) < 60
        if alive:
            assert list(map(float, kept)) == losses

    def test_large_batches(self) -> None:
        """They are sent once each, and travel on their own."""
        batches = GENERATOR.normal(size=(5, 3000, 4))
        expected, losses = serial(5, batches)
        params, found = persisted(), []
        for x in batches:
            batch = x.copy()
            params, value = fast(params, batch)
            batch[:] = np.nan  # it is sent already
            found.append(value)
        assert list(map(float, found)) == losses
        assert_equal(params, expected)

    def test_small_arrays_may_change_after_the_call(self) -> None:
        params, x = persisted(), BATCHES[0].copy()
        values = []
        for k in range(5):
            x[:] = BATCHES[k]
            params, value = fast(params, x)
            values.append(value)
        assert list(map(float, values)) == serial(5)[1]

    def test_branches_on_both_workers(self) -> None:
        """A plan of several tasks: outputs stand where they were made."""

        def two(params: Any, x: Any) -> Any:
            def of_one(w: Any) -> Any:
                y = x
                for _ in range(4):
                    y = np.tanh(y @ w)
                return np.sum(y**2)

            return [w - 0.01 * gl.grad(of_one)(w) for w in params]

        run, x = gl.jit(two), GENERATOR.normal(size=(400, 400))
        expected = [GENERATOR.normal(size=(400, 400)) / 20 for _ in range(2)]
        params = [gl.tensor(w).persist() for w in expected]
        data = gl.tensor(x).persist()
        for _ in range(3):
            params = run(params, data)
            with gl.scheduler("serial"):
                expected = run(expected, x)
        for one, other in zip(params, expected, strict=True):
            assert_same_bits(np.asarray(one), other)

    def test_what_is_returned_as_it_came(self) -> None:
        """Inputs and constants among the outputs."""
        x = persisted()["b"]
        same, three, turned = gl.jit(lambda x: (x, 3.0 * np.ones(2), x.T))(x)
        assert_same_bits(np.asarray(same), FIRST["b"])
        assert_same_bits(np.asarray(three), np.full(2, 3.0))
        product = gl.jit(lambda t, c: t @ c[0])
        with gl.scheduler("serial"):
            expected = product(FIRST["b"].T, [FIRST["b"]])
        assert_same_bits(np.asarray(product(turned, [FIRST["b"]])), expected)

    def test_errors_raise_at_the_look(self) -> None:
        """With op and line; what follows from the step raises the same."""

        def invert(w: Any) -> Any:
            return np.linalg.inv(w), np.sum(w)

        run = gl.jit(invert)
        w = gl.tensor(np.zeros((3, 3))).persist()
        inverse, total = run(w)
        after, _ = run(inverse)
        for value in (inverse, total, after, inverse):
            with pytest.raises(np.linalg.LinAlgError, match="Singular") as raised:
                np.asarray(value)
            line = invert.__code__.co_firstlineno + 1
            assert any([f"'inv' recorded at {__file__}:{line}" in note for note in raised.value.__notes__])
        assert float(run(gl.tensor(np.eye(3)).persist())[1]) == 3.0

    def test_the_conventions_of_dask(self, workers: Any) -> None:
        """Results are collections: compute, persist, futures."""
        client = workers._connection.client
        expected, losses = serial(1)
        params, value = fast(persisted(), BATCHES[0])
        future = client.compute(params["b"])
        assert_same_bits(client.submit(np.negative, future).result(), -expected["b"])
        computed, total = dask.compute(params, value)
        assert_equal(computed, expected)
        assert total == losses[0]
        assert gl.compute(value * 2.0, np.sum(params["b"])) == (losses[0] * 2.0, np.sum(expected["b"]))
        assert value.compute() == losses[0]
        doubled = (params["b"] * 2.0).persist()
        assert_same_bits(np.asarray(doubled), expected["b"] * 2.0)
        assert float(gl.jit(np.sum)(doubled)) == np.sum(expected["b"] * 2.0)
        assert_same_bits(np.asarray(client.persist(params["b"] * 2.0)), expected["b"] * 2.0)

    def test_futures_are_inputs(self, workers: Any) -> None:
        """Those of data that was sent, and of tasks."""
        client = workers._connection.client
        params = {name: client.scatter(value) for name, value in FIRST.items()}
        batch = client.submit(lambda: np.random.default_rng(1).normal(size=(8, 4)))
        params, value = fast(params, batch)
        expected, (first,) = serial(1, [np.random.default_rng(1).normal(size=(8, 4))])
        assert float(value) == first
        assert_equal(params, expected)
        with pytest.raises(ArgumentError, match=r"(?s)no array\n.*got: str"):
            fast(client.submit(str, 3), BATCHES[0])
        with gl.scheduler("serial"), pytest.raises(ArgumentError, match="cannot trace an argument of this kind"):
            fast(params["a"].compute, batch)

    def test_other_tensors_are_recorded(self) -> None:
        """A lazy tensor that was not persisted stays lazy, and differentiable."""
        params = {name: gl.tensor(value) for name, value in FIRST.items()}
        _, value = fast(params, BATCHES[0])
        (gradient,) = gl.gradients(value, [params["b"]])
        assert_same_bits(gl.compute(gradient)[0], gl.grad(loss)(FIRST, BATCHES[0])["b"])


def test_futures_of_another_client(workers: Any) -> None:
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        gl.scheduler(workers),
        pytest.raises(ArgumentError, match="another client"),
    ):
        gl.jit(np.sin)(client.scatter(np.ones(3)))


def test_workers_that_are_threads() -> None:
    """What the user does to a value that was looked at does not reach them."""
    with gl.cluster(n_workers=1, processes=False):
        x = gl.tensor(np.ones(20_000)).persist()
        y = gl.jit(lambda x: x * 2.0)(x)
        np.asarray(y)[:] = 7.0
        gl.compute(y)[0][:] = 7.0
        dask.compute(y)[0][:] = 7.0
        y.compute()[:] = 7.0
        assert float(gl.jit(np.sum)(y)) == 40_000


def pids(executor: Any) -> list[int]:
    return list(executor._connection.client.run(os.getpid).values())


@pytest.mark.slow
class TestLoss:
    """Workers are killed; parameters are made again, with the same bits."""

    @pytest.fixture
    def pair(self) -> Iterator[Any]:
        with gl.cluster(n_workers=2) as executor:
            yield executor

    def train(self, pair: Any, kill: dict[int, int], batches: Any = BATCHES, steps: int = 100) -> None:
        """Kill so many workers before some steps."""
        expected, losses = serial(steps, batches)
        params = persisted()
        for k in range(steps):
            params, value = fast(params, batches[k])
            if k % 10 == 9:
                assert float(value) == losses[k]
            if k in kill:
                for pid in pids(pair)[: kill[k]]:
                    os.kill(pid, signal.SIGKILL)
        assert_equal(params, expected)

    def test_one_by_one(self, pair: Any) -> None:
        self.train(pair, {3: 1, 40: 1, 70: 1, 99: 1})

    def test_all(self, pair: Any) -> None:
        self.train(pair, {30: 2, 80: 2})

    def test_large_batches(self, pair: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(remote, "CHAIN_RUNS", 8)
        self.train(pair, {5: 2, 20: 2}, GENERATOR.normal(size=(25, 3000, 4)), 25)

    def test_inputs_that_have_changed_since(self, pair: Any) -> None:
        """The error names the run; another loop works after."""

        def lose(x: Any) -> Any:
            return np.sin(x) + np.cos(x)

        run, x = gl.jit(lambda p, x: lose(x) * p), np.ones(20_000)
        y = run(gl.tensor(2.0).persist(), x)
        gone = pair._connection.client.scatter(x * 2.0)
        y, z = run(y, x), run(y, gone)
        time.sleep(0.5)
        x[0] = 7.0
        for pid in pids(pair):
            os.kill(pid, signal.SIGKILL)
        with pytest.raises(SchedulerError, match=r"cannot begin again; it runs .*test_persisted.py:\d+") as raised:
            np.asarray(y)
        assert "has changed in place since" in str(raised.value)
        with pytest.raises(SchedulerError, match=r"changed in place|a future of yours"):
            np.asarray(z)
        self.train(pair, {}, steps=10)

    def test_a_thousand_steps_are_flat(self, pair: Any) -> None:
        """Memory, files and threads of this process and of the workers."""
        this = psutil.Process()
        everyone = [this, *this.children(recursive=True)]

        def usage() -> list[tuple[int, int, int]]:
            gc.collect()
            return [(p.memory_info().rss >> 20, p.num_fds(), p.num_threads()) for p in everyone]

        params = persisted()
        for k in range(1300):
            params, value = fast(params, BATCHES[k % len(BATCHES)])
            if k == 299:  # allocators and caches are warm
                before = usage()
        assert np.isfinite(float(value))
        for one, other in zip(before, usage(), strict=True):
            assert other[0] - one[0] < 48
            assert other[1] - one[1] < 8
            assert other[2] - one[2] < 4


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Sending large graph")
        yield
