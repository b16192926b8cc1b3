"""Faults, with real processes: workers and schedulers that die or stop, interrupts, forks."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import psutil
import pytest
from dask.utils import parse_bytes
from distributed import Client

import gradloom as gl
from gradloom.errors import SchedulerError
from gradloom.testing.backends import assert_same_bits
from gradloom.testing.executors import numpy_plan

pytestmark = pytest.mark.slow


def long_chain(x: Any) -> Any:
    """About a second of work, in two branches."""
    a, b = x, x.T
    for _ in range(12):
        a, b = np.tanh(a @ x), np.tanh(b @ x)
    return np.sum(a * b)


X = np.random.default_rng(0).normal(size=(700, 700)) / 26.0


@pytest.fixture(scope="module")
def expected() -> Any:
    with gl.scheduler("serial"):
        return gl.jit(gl.value_and_grad(long_chain))(X)


def worker_pids(executor: Any) -> list[int]:
    return list(executor._connection.client.run(os.getpid).values())


def busy(executor: Any) -> bool:
    return any(executor._connection.client.processing().values())


def in_thread(executor: Any) -> tuple[threading.Thread, list[Any]]:
    """Run the long chain on a cluster; what it gave or raised is put into the list."""
    got: list[Any] = []

    def work() -> None:
        try:
            with gl.scheduler(executor):
                got.append(gl.jit(gl.value_and_grad(long_chain))(X))
        except BaseException as error:
            got.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, got


def wait_until(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def assert_equal(got: Any, expected: Any) -> None:
    if isinstance(got, BaseException):
        raise got
    assert got[0] == expected[0]
    assert_same_bits(got[1], expected[1])


@pytest.fixture
def pair() -> Iterator[Any]:
    with gl.cluster(n_workers=2) as executor:
        executor.always = True  # type: ignore[attr-defined]
        with gl.scheduler("serial"):
            yield executor


def test_a_worker_is_killed(pair: Any, expected: Any) -> None:
    """The run ends with the same bits, on the other worker and the one that takes its place."""
    thread, got = in_thread(pair)
    wait_until(lambda: busy(pair))
    os.kill(worker_pids(pair)[0], signal.SIGKILL)
    killed = time.monotonic()
    thread.join(60)
    assert_equal(got[0], expected)
    assert time.monotonic() - killed < 30


def test_a_worker_dies_while_it_is_sent_to(pair: Any) -> None:
    """Plans and inputs go to all workers that the scheduler knows, also to one that died an instant ago."""
    for k in range(4):
        plan = numpy_plan(gl.make_graph(lambda x, k=k: np.sum(x) + k)(np.ones(50_000)))
        wait_until(lambda: len(worker_pids(pair)) == 2)
        os.kill(worker_pids(pair)[0], signal.SIGKILL)
        assert pair.run(plan, [np.full(50_000, float(k))])[0] == 50_001 * k


def test_a_worker_is_gone_when_the_scheduler_hears_of_its_data(pair: Any) -> None:
    """It took the inputs and died before the scheduler was told of them: they are sent once more."""

    def lose_the_receiver(dask_scheduler: Any) -> None:
        plain = dask_scheduler.handlers["update_data"]

        async def told_too_late(**message: Any) -> Any:
            dask_scheduler.handlers["update_data"] = plain
            (receivers,) = message["who_has"].values()
            await dask_scheduler.remove_worker(receivers[0], stimulus_id="lost")
            return plain(**message)

        dask_scheduler.handlers["update_data"] = told_too_late

    plan = numpy_plan(gl.make_graph(np.sum)(np.ones(50_000)))
    pair._connection.client.run_on_scheduler(lose_the_receiver)
    assert pair.run(plan, [np.ones(50_000)])[0] == 50_000
    handler = pair._connection.client.run_on_scheduler(
        lambda dask_scheduler: dask_scheduler.handlers["update_data"].__name__
    )
    assert handler == "update_data"


def test_the_worker_that_keeps_the_parameters_is_killed(pair: Any) -> None:
    """They are sent again; each step has the bits of serial."""
    step = gl.jit(lambda w, x: w - 0.1 * gl.grad(lambda w: np.mean(np.tanh(x @ w) ** 2))(w))
    x, w = np.ones((8, 200)), X[:200, :200].copy()
    expected = w
    for k in range(6):
        with gl.scheduler("serial"):
            expected = step(expected, x)
        with gl.scheduler(pair):
            w = step(w, x)
        assert_same_bits(w, expected)
        if k % 2 == 0:
            client = pair._connection.client
            kept = [held.future for held, _ in pair._connection._inputs._known.values() if held.output is not None][-1]
            wait_until(kept.done)
            (address,) = client.who_has([kept])[kept.key]
            os.kill(client.run(os.getpid, workers=[address])[address], signal.SIGKILL)


def test_all_workers_are_killed(pair: Any, expected: Any) -> None:
    """The run goes on when others come."""
    thread, got = in_thread(pair)
    wait_until(lambda: busy(pair))
    for pid in worker_pids(pair):
        os.kill(pid, signal.SIGKILL)
    thread.join(90)
    assert_equal(got[0], expected)


def test_a_worker_stops_and_goes_on(pair: Any, expected: Any) -> None:
    thread, got = in_thread(pair)
    wait_until(lambda: busy(pair))
    pid = worker_pids(pair)[0]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    os.kill(pid, signal.SIGCONT)
    thread.join(60)
    assert_equal(got[0], expected)


def test_a_task_that_kills_its_worker(pair: Any) -> None:
    """The error names the op after a bounded number of tries, and the cluster can be used again."""
    from distributed import WorkerPlugin

    class Deadly(WorkerPlugin):  # type: ignore[misc]
        def setup(self, worker: Any) -> None:
            import os

            import gradloom_numpy.kernels as kernels

            kernels.KERNELS["cosh"] = lambda x: os._exit(1)

    client = pair._connection.client
    client.register_plugin(Deadly(), name="deadly")
    plan = numpy_plan(gl.make_graph(lambda x: np.sum(np.cosh(x)))(np.ones(3)))
    with pytest.raises(SchedulerError, match=r"runs the ops cosh, sum.*ended \d workers") as raised:
        pair.run(plan, [np.ones(3)])
    assert __file__ in str(raised.value)
    client.unregister_worker_plugin("deadly")
    plan = numpy_plan(gl.make_graph(lambda x: np.sum(x))(np.ones(3)))
    assert pair.run(plan, [np.ones(3)])[0] == 3.0


def test_memory_for_half_of_what_is_needed() -> None:
    """An error names ops and bytes, in bounded time; the cluster can be used again."""
    layers = 100

    def deep(x: Any, w: Any) -> Any:
        for _ in range(layers):
            x = np.tanh(x @ w)
        return np.sum(x)

    x, w = np.ones((100_000, 10)), np.eye(10)
    assert layers * x.nbytes > 2 * 350 * 2**20  # what the backward pass needs of the forward one
    start = time.monotonic()
    with gl.cluster(n_workers=1, memory_limit="400MiB"):
        with pytest.raises(SchedulerError, match=r"task .*runs the ops .*matmul") as raised:
            gl.jit(gl.grad(deep, argnums=1))(x, w)
        needs = re.search(r"values of that task take ([\d.]+ [MG]iB)", str(raised.value))
        assert needs is not None
        # What the forward pass leaves, and at most as much again of cotangents.
        assert layers * x.nbytes <= parse_bytes(needs[1]) < 2.2 * layers * x.nbytes
        assert time.monotonic() - start < 120
        assert gl.jit(lambda x: np.sum(x @ x.T))(X) == gl.jit(lambda x: np.sum(x @ x.T), scheduler="serial")(X)


def test_the_scheduler_is_killed(expected: Any) -> None:
    """A clear error within 15 s; the next run in the process works."""
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    command += ["--dashboard-address", "127.0.0.1:0"]
    scheduler = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    address = None
    assert scheduler.stderr is not None
    for line in scheduler.stderr:
        if "Scheduler at:" in line:
            address = line.split("Scheduler at:")[1].strip()
            break
    assert address is not None
    threading.Thread(target=scheduler.stderr.read, daemon=True).start()
    command = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    worker = subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=subprocess.DEVNULL)
    try:
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(1, timeout=60)
            from gradloom_dask.cluster import ClientExecutor

            executor = ClientExecutor(client, always=True)
            thread, got = in_thread(executor)
            wait_until(lambda: busy(executor))
            scheduler.kill()
            killed = time.monotonic()
            thread.join(60)
            assert isinstance(got[0], SchedulerError), got
            assert "scheduler of the cluster is lost" in str(got[0])
            assert time.monotonic() - killed < 15
        with gl.scheduler("threads"):
            assert_equal(gl.jit(gl.value_and_grad(long_chain))(X), expected)
    finally:
        for process in (worker, scheduler):
            for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
                child.kill()
            process.kill()
            process.wait()


INTERRUPT = """
    import os, signal, sys, threading, time
    import numpy as np
    import gradloom as gl

    def long_chain(x):
        a, b = x, x.T
        for _ in range({length}):
            a, b = np.tanh(a @ x), np.tanh(b @ x)
        return np.sum(a * b)

    def main():
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
        x = np.random.default_rng(0).normal(size=(600, 600)) / 25.0
        scheduler = sys.argv[1]
        short = gl.jit(lambda x: np.sum(np.tanh(x @ x) @ x))
        long = gl.jit(long_chain)
        reference = short(x)

        def run():
            gl.jit(lambda x: np.sum(x @ x + x.T @ x))(x)  # the pool has started
            sent = []

            def interrupt():
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)

            threading.Timer(1.0, interrupt).start()
            try:
                long(x)
            except KeyboardInterrupt:
                print("back after", time.monotonic() - sent[0])
            else:
                raise SystemExit("not interrupted")
            before = time.process_time()
            time.sleep(0.5)
            assert time.process_time() - before < 0.25, "something is left running"
            assert short(x) == reference

        if scheduler == "cluster":
            from distributed.gc import disable_gc_diagnosis

            with gl.cluster(n_workers=2) as executor:
                # Python drops an interrupt that comes while a callback of its collector runs, as distributed has one.
                disable_gc_diagnosis(force=True)
                executor.always = True
                run()
        else:
            with gl.scheduler(scheduler):
                run()

    if __name__ == "__main__":
        main()
"""


@pytest.mark.parametrize("scheduler", ["serial", "threads", "cluster"])
def test_interrupts(scheduler: str, tmp_path: Any) -> None:
    """Ctrl-C comes back when the kernels that run have ended; nothing is left running, and the next run is right."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(INTERRUPT).format(length=1500))
    done = subprocess.run(
        [sys.executable, str(path), scheduler], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("back after")[1].split()[0]) < 1.0


FORK = """
    import os, sys
    import numpy as np
    import gradloom as gl
    from gradloom_dask.threads import ThreadsExecutor

    def f(x):
        a, b = x, x.T
        for _ in range(3):
            a, b = np.tanh(a @ x), np.tanh(b @ x)
        return np.sum(a * b)

    x = np.ones((50, 50)) / 50
    executor = ThreadsExecutor(always=True)
    with gl.scheduler(executor):
        expected = gl.grad(f)(x)
        if os.fork() == 0:
            os._exit(0 if (gl.grad(f)(x) == expected).all() else 1)
        assert os.wait()[1] == 0
        assert (gl.grad(f)(x) == expected).all()
"""


def test_fork_after_threads() -> None:
    """A forked process has no threads of the pool; it makes its own."""
    subprocess.run([sys.executable, "-W", "ignore", "-c", textwrap.dedent(FORK)], timeout=60, check=True)
