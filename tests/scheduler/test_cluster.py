"""The distributed executor: the law of executors, plans that travel once, inputs that are never stale."""

from __future__ import annotations

import gc
import pickle
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from distributed import Client, LocalCluster

import gradloom as gl
from gradloom.backend import backends
from gradloom.calibration import Rates
from gradloom.compiler import compilers
from gradloom.errors import ArgumentError, SchedulerError
from gradloom.executor import AbstractExecutor
from gradloom.plan import Plan
from gradloom.tasks import Task
from gradloom.testing.backends import assert_same_bits
from gradloom.testing.executors import ExecutorConformance, numpy_plan
from gradloom_dask import cluster, running
from gradloom_dask.packing import unpack
from gradloom_dask.place import WORKERS_KNOWN_SECONDS
from gradloom_dask.worker import PlanPlugin


class TestCluster(ExecutorConformance):
    @pytest.fixture(autouse=True)
    def _executor(self, workers: Any) -> None:
        type(self).scheduler = workers

    @pytest.fixture
    def this(self, workers: Any) -> AbstractExecutor:
        found: AbstractExecutor = workers
        return found


def branches(x: Any, w: Any) -> Any:
    """Two chains of products that meet at the end."""
    a, b = x, x.T
    for _ in range(4):
        a, b = np.tanh(a @ w), np.tanh(b @ w.T)
    return np.sum(a * b)


def matrices(n: int, seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(n, n)), generator.normal(size=(n, n)) / n**0.5


def test_branches_have_the_bits_of_serial(workers: Any) -> None:
    """Value and gradient of two branches large enough to be cut and to let BLAS use several threads."""
    x, w = matrices(400)
    gradient = gl.jit(gl.value_and_grad(branches, argnums=(0, 1)))
    with gl.scheduler("serial"):
        value, grads = gradient(x, w)
    for _ in range(2):
        with gl.scheduler(workers):
            other, others = gradient(x, w)
        assert other == value
        for one, two in zip(grads, others, strict=True):
            assert_same_bits(one, two)


def split_work(x: Any) -> Any:
    """Two chains that share an input."""
    a, b = x[:, :400], x[:, 400:800]
    for _ in range(6):
        a, b = np.tanh(x @ a), np.tanh(x @ b)
    return np.sum(a), np.sum(b)


def split_after_trunk(x: Any) -> Any:
    """Two chains that share what a task makes."""
    return split_work(np.tanh(x @ x))


def _computed(dask_worker: Any) -> list[str]:
    """Return the keys of the tasks that a worker ran, and forget them."""
    keys = [event[0] for event in dask_worker.state.log if len(event) > 1 and event[1] == "compute-task"]
    dask_worker.state.log.clear()
    return keys


@pytest.mark.parametrize("f", [split_work, split_after_trunk])
def test_tasks_that_share_a_large_value_run_on_different_workers(workers: Any, f: Any) -> None:
    """dask would send both to the worker that holds it, one after the other."""
    x = matrices(900)[1]
    client = workers._connection.client
    fast = gl.jit(f, scheduler=workers)
    expected = gl.jit(f, scheduler="serial")(x)
    for _ in range(5):
        client.run(_computed)
        assert fast(x) == expected
        assert all([any([key[-1].isdigit() for key in own]) for own in client.run(_computed).values()])


def test_a_plan_travels_once(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Later steps send inputs and keys; a plan that is gone leaves the workers."""
    sent: list[str] = []
    register = Client.register_plugin

    def registering(self: Any, plugin: Any, name: str, **options: Any) -> Any:
        sent.append(name)
        return register(self, plugin, name=name, **options)

    monkeypatch.setattr(Client, "register_plugin", registering)
    plan = numpy_plan(gl.make_graph(lambda x: np.sum(np.sin(x)))(np.ones(5)))
    for k in range(4):
        assert workers.run(plan, [np.full(5, float(k))])[0] == 5 * np.sin(float(k))
    assert len(sent) == 1
    del plan
    gc.collect()
    client = workers._connection.client
    for _ in range(100):
        left = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))
        if sent[0] not in left:
            break
    assert sent[0] not in left


def test_a_plan_may_end_while_another_is_sent(workers: Any) -> None:
    """In any thread, also in that of the client's loop, which sends: plans end where the collector happens to run."""
    plans = [numpy_plan(gl.make_graph(lambda x, k=k: np.sum(x) * k)(np.ones(5))) for k in (1.5, 2.5)]
    for plan, factor in zip(plans, (1.5, 2.5), strict=True):
        assert workers.run(plan, [np.ones(5)])[0] == 5 * factor
    shipments = workers._connection.shipments
    before = len(shipments._living)
    del plan
    with shipments._lock:  # held by whoever sends a plan
        thread = threading.Thread(target=lambda: (plans.pop(), gc.collect()))
        thread.start()
        thread.join(20)
        assert not thread.is_alive()
    assert len(shipments._living) == before - 1


def test_a_plan_stays_while_another_of_the_same_content_lives(workers: Any) -> None:
    """Both have one name on the workers; the last one takes it with it."""
    one, other = [numpy_plan(gl.make_graph(lambda x: np.sum(np.cos(x)))(np.ones(6))) for _ in range(2)]
    for plan in (one, other):
        workers.run(plan, [np.ones(6)])
    client, name = workers._connection.client, workers._connection.shipments.known(one).name
    assert name == workers._connection.shipments.known(other).name

    def held() -> bool:
        return name in client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.worker_plugins))

    del one, plan
    gc.collect()
    client.sync(client.scheduler.identity, n_workers=-1)  # whatever was said to the scheduler, it has heard
    assert held()
    del other
    gc.collect()
    assert any(not held() for _ in range(100))


def test_inputs_are_never_stale(workers: Any) -> None:
    """An array that was changed in place is another input; one that was not stays on the workers."""
    plan = numpy_plan(gl.make_graph(lambda x: np.sum(x))(np.ones(50_000)))
    x = np.ones(50_000)
    assert workers.run(plan, [x])[0] == 50_000
    x[0] = 2.0
    assert workers.run(plan, [x])[0] == 50_001
    kept = len(workers._connection._inputs._known)
    assert workers.run(plan, [x.copy()])[0] == 50_001
    assert len(workers._connection._inputs._known) == kept


def test_training_keeps_parameters_on_the_workers(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a step returns is there already when it comes back as an argument; changed in place, it is another.

    Now and then it is sent again, so that the scheduler does not remember all steps.
    """

    def step(params: tuple[Any, Any], x: Any) -> tuple[Any, Any]:
        a, b = params
        ga, gb = gl.grad(lambda p: np.mean((np.tanh(x @ p[0]) @ p[1]) ** 2))(params)
        return a - 0.1 * ga, b - 0.1 * gb

    sent: list[int] = []
    scatter = Client.scatter

    def scattering(self: Any, data: Any, **options: Any) -> Any:
        sent.extend([unpack(value).nbytes for value in data.values()])
        return scatter(self, data, **options)

    monkeypatch.setattr(Client, "scatter", scattering)
    monkeypatch.setattr(running, "CHAIN_RUNS", 8)
    generator = np.random.default_rng(0)
    first = generator.normal(size=(4, 300)), generator.normal(size=(300, 300))
    batches = generator.normal(size=(30, 8, 4))
    fast = gl.jit(step)
    expected, params = first, first
    for k, x in enumerate(batches):
        with gl.scheduler("serial"):
            expected = fast(expected, x)
        sent.clear()
        with gl.scheduler(workers):
            params = fast(params, x)
        assert sum(sent) == (first[1].nbytes if k % 8 == 0 else 0)
        for one, two in zip(expected, params, strict=True):
            assert_same_bits(one, two)
    tasks = workers._connection.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    assert tasks < 25
    params[1][0, 0] = expected[1][0, 0] = 7.0
    with gl.scheduler("serial"):
        expected = fast(expected, batches[0])
    with gl.scheduler(workers):
        params = fast(params, batches[0])
    assert_same_bits(expected[1], params[1])


def test_outputs_are_hashed_where_they_come_back(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """That an output looks like an input costs its hash once, not at each run."""
    hashed: list[int] = []
    fingerprint = running.fingerprint
    monkeypatch.setattr(running, "fingerprint", lambda value: hashed.append(1) or fingerprint(value))
    plan = numpy_plan(gl.make_graph(lambda x: (x * 1.5, np.sum(x)))(np.ones(50_000)))
    x = np.ones(50_000)
    counts = []
    for returns in (False, False, False, True, True, True, False, False):
        hashed.clear()
        y = workers.run(plan, [x])[0]
        assert_same_bits(y, x * 1.5)
        counts.append(len(hashed))
        x = y if returns else np.ones(50_000)
    # Of the fourth run's output it is seen that it comes back when the fifth begins.
    assert counts == [1, 0, 0, 0, 1, 1, 1, 0]


def test_data_does_not_pass_the_scheduler(workers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inputs and results go between client and workers; through the scheduler they would be read and sent twice."""
    handlers = workers._connection.client.cluster.scheduler.handlers
    passed: list[str] = []
    for name in ("gather", "scatter"):
        monkeypatch.setitem(handlers, name, lambda name=name, **_: passed.append(name))
    plan = numpy_plan(gl.make_graph(lambda x: x * 3.0)(np.ones(50_000)))
    assert_same_bits(workers.run(plan, [np.arange(50_000.0)])[0], np.arange(50_000.0) * 3.0)
    assert not passed


def test_results_that_are_changed_leave_the_workers_alone(workers: Any) -> None:
    plan = numpy_plan(gl.make_graph(lambda x: x * 2.0)(np.ones(50_000)))
    (first,) = workers.run(plan, [np.ones(50_000)])
    first[:] = 7.0
    assert_same_bits(workers.run(plan, [np.ones(50_000)])[0], np.full(50_000, 2.0))


def test_inputs_in_this_process_may_change_later() -> None:
    """Workers that are threads must not see what the user does to an array after the run."""
    with gl.cluster(n_workers=1, processes=False) as executor:
        executor.always = True  # type: ignore[attr-defined]
        plan = numpy_plan(gl.make_graph(lambda x: np.sum(x))(np.ones(50_000)))
        x = np.ones(50_000)
        assert executor.run(plan, [x])[0] == 50_000
        x[:] = 3.0
        assert executor.run(plan, [np.ones(50_000)])[0] == 50_000


def test_plans_are_cut_for_the_workers_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """One worker takes a plan as a whole; when a second one comes, each takes a branch."""
    monkeypatch.setattr(cluster, "rates", lambda: Rates(1e-6, 1e7, 1e7, 1e9))
    x, w = matrices(60)
    plan = numpy_plan(gl.make_graph(gl.value_and_grad(branches))(x, w))
    wanted = plan.run([x, w])
    options: dict[str, Any] = {"processes": False, "threads_per_worker": 1, "dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=1, **options) as local,
        Client(local, set_as_default=False) as client,
    ):
        executor, counts = cluster.ClientExecutor(client), []
        for n in (1, 2):
            local.scale(n)
            client.wait_for_workers(n)
            time.sleep(WORKERS_KNOWN_SECONDS)
            assert executor.lanes() == n
            for got, want in zip(executor.run(plan, [x, w]), wanted, strict=True):
                assert_same_bits(got, want)
            counts.append(len(executor.tasks(plan)))
        assert counts[0] == 1 < counts[1]


def test_a_client_is_a_scheduler(workers: Any) -> None:
    """`gl.scheduler` and `gl.jit` take a client."""
    client = workers._connection.client
    x = np.ones((3, 3))
    with gl.scheduler(client):
        assert_same_bits(gl.grad(lambda x: np.sum(x @ x))(x), np.full((3, 3), 6.0))
    assert gl.jit(lambda x: np.sum(x), scheduler=client)(x) == 9.0


def test_small_plans_run_in_the_calling_process() -> None:
    """They take less time than sending them."""
    with (
        LocalCluster(n_workers=0, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
        gl.scheduler(client),
    ):
        assert gl.grad(np.sin)(0.0) == 1.0  # there is no worker


def test_what_is_no_scheduler() -> None:
    with (
        pytest.raises(ArgumentError, match=r"expected: one of .*a distributed\.Client or an executor"),
        gl.scheduler(3),
    ):
        pass


def test_without_a_client() -> None:
    with pytest.raises(SchedulerError, match="there is no client"), gl.scheduler("distributed"):
        gl.grad(np.sin)(0.0)


@pytest.mark.parametrize("version", ["0.0.0", None])
def test_workers_of_another_version_are_refused(
    workers: Any, monkeypatch: pytest.MonkeyPatch, version: str | None
) -> None:
    """At once, naming the worker; so are workers without gradloom."""
    client = workers._connection.client
    missing = running._VERSION.replace("'gradloom'", "'gradloom-that-is-not-there'")
    monkeypatch.setattr(running, "_VERSION", missing if version is None else repr(version))
    with pytest.raises(SchedulerError, match="no gradloom" if version is None else "another version") as raised:
        running.Connection(client).check_versions()
    assert "tcp://127.0.0.1" in str(raised.value) or "scheduler of" in str(raised.value)
    assert "pip install" in str(raised.value)


def test_a_worker_that_compiles_less_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernels of single ops that would run instead add up in another order."""
    graph = gl.make_graph(gl.grad(lambda x: np.sum(np.sin(x) * np.cos(x))))(np.ones(1000))
    plan = Plan(graph, backends.get("numpy"), compilers.get("llvm"))
    sent = pickle.dumps(PlanPlugin(plan, [Task(tuple(range(len(plan.steps))), (), 0.0)]))
    assert pickle.loads(sent).load()[0].uncompiled == []

    def fails(*_: Any) -> Any:
        raise MemoryError("no room for code")

    monkeypatch.setattr("gradloom_llvm.compiler.LLVMCompiler.begin", lambda *_: fails)
    with (
        pytest.warns(RuntimeWarning, match="failed on a region of"),
        pytest.raises(SchedulerError, match="a worker does not compile what the client does") as raised,
    ):
        pickle.loads(sent).load()
    assert "failures on nothing" in str(raised.value)


def test_errors_carry_op_and_line(workers: Any) -> None:
    """Those of this run, also where the workers hold the plan of another function of the same structure."""

    def first(x: Any) -> Any:
        return np.sum(np.linalg.inv(x))

    def second(x: Any) -> Any:
        return np.sum(np.linalg.inv(x))

    with gl.scheduler(workers):
        gl.grad(first)(np.eye(3))
        messages = []
        for _ in range(3):
            with pytest.raises(np.linalg.LinAlgError, match="Singular") as raised:
                gl.grad(second)(np.zeros((3, 3)))
            messages.append(raised.value.__notes__)
        gl.grad(first)(np.eye(3))
    line = second.__code__.co_firstlineno + 1
    assert messages[0] == messages[1] == messages[2]
    assert f"'inv' recorded at {__file__}:{line}" in messages[0][0]


def test_the_first_error_is_that_of_serial(workers: Any) -> None:
    """Two branches fail; it is always the first in the program that raises."""

    def both(x: Any) -> Any:
        slow = x
        for _ in range(6):
            slow = np.tanh(slow @ x)
        return np.sum(np.linalg.inv(slow * 0.0)) + np.sum(np.linalg.cholesky(x - 2.0 * x))

    x = np.eye(300)
    with gl.scheduler("serial"), pytest.raises(np.linalg.LinAlgError) as expected:
        gl.jit(both)(x)
    for scheduler in (workers, "threads"):
        with gl.scheduler(scheduler), pytest.raises(np.linalg.LinAlgError) as raised:
            gl.jit(both)(x)
        assert str(raised.value) == str(expected.value)


def test_nested_runs_in_a_task(workers: Any) -> None:
    """A task that asks for the cluster it runs on computes in its own thread."""

    def nested(x: Any) -> Any:
        with gl.scheduler("distributed"):
            return gl.grad(lambda x: np.sum(x**2))(x)

    client = workers._connection.client
    futures = client.map(nested, [np.full(3, float(k)) for k in range(6)], pure=False)
    for k, got in enumerate(client.gather(futures)):
        assert_same_bits(got, np.full(3, 2.0 * k))


def test_nothing_listens_beyond_loopback(workers: Any) -> None:
    """Scheduler, workers, nannies and dashboards."""
    this = psutil.Process()
    addresses = set()
    for process in [this, *this.children(recursive=True)]:
        for connection in process.net_connections(kind="inet"):
            if connection.status == psutil.CONN_LISTEN:
                addresses.add(connection.laddr.ip)
    assert addresses == {"127.0.0.1"}


@pytest.mark.slow
def test_a_thousand_runs_are_flat(workers: Any) -> None:
    """Memory, files and threads of this process and of the workers."""
    plan = numpy_plan(gl.make_graph(lambda x: (np.sum(x), x * 2.0))(np.ones(20_000)))
    this = psutil.Process()
    everyone = [this, *this.children(recursive=True)]

    def usage() -> list[tuple[int, int, int]]:
        gc.collect()
        return [(p.memory_info().rss >> 20, p.num_fds(), p.num_threads()) for p in everyone]

    for k in range(100):
        workers.run(plan, [np.full(20_000, float(k))])
    before = usage()
    for k in range(1000):
        workers.run(plan, [np.full(20_000, float(k))])
    for one, other in zip(before, usage(), strict=True):
        assert other[0] - one[0] < 48
        assert other[1] - one[1] < 8
        assert other[2] - one[2] < 4


def test_what_was_sent_is_soon_forgotten(workers: Any) -> None:
    """The inputs of hundreds of runs are not kept in logs of messages."""
    plan = numpy_plan(gl.make_graph(np.sin)(np.ones(1_000)))
    for k in range(40):
        workers.run(plan, [np.full(1_000, float(k))])
    client = workers._connection.client
    scheduler = client.cluster.scheduler
    streams = [client.scheduler_comm, *scheduler.stream_comms.values(), *scheduler.client_comms.values()]
    kept = [len(stream.recent_message_log) for stream in streams]
    assert len(kept) == 4
    assert max(kept) <= 16


def test_encrypted_clusters() -> None:
    """A temporary certificate."""
    with gl.cluster(n_workers=1, security=True) as executor:
        executor.always = True  # type: ignore[attr-defined]
        assert executor._connection.client.scheduler.address.startswith("tls://")  # type: ignore[attr-defined]
        assert gl.grad(np.tanh)(0.0) == 1.0
        x = np.arange(50_000.0)  # travels on its own
        assert_same_bits(gl.grad(lambda x: np.sum(x * x))(x), 2.0 * x)


def test_core_does_not_load_distributed() -> None:
    """`gl.cluster` is there without it."""
    script = """
        import sys
        import numpy as np
        import gradloom as gl
        gl.cluster
        gl.grad(np.sin)(0.0)
        assert not {"dask", "distributed", "threadpoolctl"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True, timeout=120)


@pytest.fixture(autouse=True)
def _no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Sending large graph")
        yield
