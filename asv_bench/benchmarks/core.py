"""The core itself: import time, cost of a traced op, long chains, memory."""

from __future__ import annotations

import sys

import numpy as np

import gradloom as gl


def timeraw_import_gradloom() -> str:
    return "import gradloom"


def timeraw_import_numpy() -> str:
    return "import numpy"


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
        def f(x: np.ndarray) -> np.ndarray:
            for _ in range(50):
                x = np.sin(x)
            return np.sum(x)

        gl.grad(f)(self.x)


class Tracing:
    """Seconds to record one op."""

    def setup(self) -> None:
        self.x = np.arange(10.0)

    def track_seconds_per_op(self) -> float:
        import time

        def seconds(ops: int) -> float:
            def f(x: np.ndarray) -> np.ndarray:
                for _ in range(ops):
                    x = x + x
                return np.sum(x)

            graph = gl.make_graph(f)
            best = float("inf")
            for _ in range(20):
                start = time.perf_counter()
                graph(self.x)
                best = min(best, time.perf_counter() - start)
            return best

        return (seconds(2000) - seconds(1000)) / 1000

    track_seconds_per_op.unit = "s"  # type: ignore[attr-defined]
