"""The core itself: imports, tracing, what a plan and a call cost beside the kernels, long chains, memory."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import gradloom as gl
from benchmarks.fresh import import_seconds
from benchmarks.interleaved import least, paired, samples
from benchmarks.shapes import over_the_run
from benchmarks.workloads import WORKLOADS
from gradloom.backend import backends
from gradloom.plan import Plan


class Import:
    """Imports in fresh interpreters."""

    def timeraw_gradloom(self) -> str:
        return "import gradloom"

    def timeraw_numpy(self) -> str:
        return "import numpy"

    def track_ratio_to_numpy(self) -> float:
        return import_seconds("gradloom") / import_seconds("numpy")

    track_ratio_to_numpy.unit = "ratio"  # type: ignore[attr-defined]


class Chain:
    """The first gradient of a chain of scalar ops, traced, differentiated, planned and run."""

    params = [25_000, 50_000, 100_000]
    param_names = ["ops"]
    number = 1
    repeat = 3
    warmup_time = 0.0
    timeout = 120

    def setup(self, ops: int) -> None:
        self.limit = sys.getrecursionlimit()
        self.runs = 0
        gl.grad(np.sin)(0.5)

    def time_first_gradient(self, ops: int) -> None:
        # One op more each time, so that nothing is found in the cache.
        self.runs += 1

        def chain(x: float) -> float:
            for _ in range(ops + self.runs):
                x = np.sin(x)
            return x

        gl.grad(chain)(0.5)


class Memory:
    """Peak memory of a gradient through 50 elementwise ops on arrays of 1.6 MB."""

    def setup(self) -> None:
        self.x = np.linspace(0.0, 1.0, 200_000)

    def peakmem_gradient(self) -> None:
        def f(x: Any) -> Any:
            for _ in range(50):
                x = np.sin(x)
            return np.sum(x)

        gl.grad(f)(self.x)


class Tracing:
    """Seconds to record one op: the second half of a trace of so many."""

    params = [100, 1_000, 10_000]
    param_names = ["ops"]

    def track_seconds_per_op(self, ops: int) -> float:
        x = np.arange(10.0)

        def seconds(count: int) -> float:
            def f(x: Any) -> Any:
                for _ in range(count):
                    x = x + x
                return np.sum(x)

            graph = gl.make_graph(f)
            return least(lambda: graph(x), 20, max(1, 1000 // count))

        return (seconds(ops) - seconds(ops // 2)) / (ops - ops // 2)

    track_seconds_per_op.unit = "s"  # type: ignore[attr-defined]


class TinyKernels:
    """A plan of tiny kernels, sines of eight numbers: what each takes, and beside a Python loop that calls them."""

    params = [100, 1_000]
    param_names = ["kernels"]

    def setup(self, kernels: int) -> None:
        def chain(x: Any) -> Any:
            for _ in range(kernels):
                x = np.sin(x)
            return x

        x = np.ones(8)
        plan = Plan(gl.make_graph(chain)(x), backends.get("numpy"))
        self.found = samples({"plan": lambda: plan.run([x]), "loop": lambda: chain(x)}, 1.0, rest=False)

    def track_seconds_per_kernel(self, kernels: int) -> float:
        return statistics.median(self.found["plan"]) / kernels

    def track_ratio_to_loop(self, kernels: int) -> float:
        return paired(self.found, "plan", "loop")

    track_seconds_per_kernel.unit = "s"  # type: ignore[attr-defined]
    track_ratio_to_loop.unit = "ratio"  # type: ignore[attr-defined]


class Call:
    """What `jit` costs: a call of the identity on a 0-d array, and of a gradient on it."""

    def track_seconds_of_identity(self) -> float:
        identity, x = gl.jit(lambda x: x), np.array(1.0)
        return fastest(lambda: identity(x), 1000)

    def track_seconds_of_square(self) -> float:
        gradient, x = gl.jit(gl.value_and_grad(lambda x: x * x)), np.array(1.0)
        return fastest(lambda: gradient(x), 1000)

    track_seconds_of_identity.unit = "s"  # type: ignore[attr-defined]
    track_seconds_of_square.unit = "s"  # type: ignore[attr-defined]


class NewShape:
    """What the first call with a new shape costs over the calls after it; fewer samples than usual."""

    params = [name for name, workload in WORKLOADS.items() if workload.size is not None]
    param_names = ["workload"]
    timeout = 300

    def track_seconds_over_the_run(self, workload: str) -> float:
        return statistics.median(over_the_run(WORKLOADS[workload]))

    track_seconds_over_the_run.unit = "s"  # type: ignore[attr-defined]


def fastest(call: Callable[[], Any], count: int = 1) -> float:
    """Return the least seconds per call, warmed up."""
    for _ in range(3):
        call()
    return least(call, 50, count)
