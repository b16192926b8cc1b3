"""Value and gradient of each workload: seconds, ratios to the best peer, first calls, memory, sizes."""

from __future__ import annotations

import statistics

from benchmarks.compare import known, steady_state
from benchmarks.fresh import first_calls, in_fresh_process
from benchmarks.workloads import WORKLOADS


class Gradients:
    """Steady state: warmed up, compiled where the workload says so."""

    params = list(WORKLOADS)
    param_names = ["workload"]
    timeout = 300

    def setup(self, workload: str) -> None:
        self.call = WORKLOADS[workload].call("gradloom")
        for _ in range(3):
            self.call()

    def time_gradloom(self, workload: str) -> None:
        self.call()


class Ratio:
    """Seconds over those of the best peer, in batches that take turns in one process."""

    params = list(WORKLOADS)
    param_names = ["workload"]
    timeout = 300

    def track_to_best_peer(self, workload: str) -> float:
        (row,) = steady_state([WORKLOADS[workload]], seconds=2.0)
        return known(row.ratio())

    track_to_best_peer.unit = "ratio"  # type: ignore[attr-defined]


class FirstCall:
    """Trace, compile and run in a fresh process with an empty cache."""

    params = [name for name, workload in WORKLOADS.items() if workload.jit]
    param_names = ["workload"]
    timeout = 300

    def track_seconds(self, workload: str) -> float:
        return statistics.median(in_fresh_process("first_call", workload, "gradloom") for _ in range(3))

    track_seconds.unit = "s"  # type: ignore[attr-defined]


class FirstCallRatio:
    """Seconds of the first call over those of `jax.jit`."""

    params = [name for name, workload in WORKLOADS.items() if workload.jit and "jax" in workload.peers]
    param_names = ["workload"]
    timeout = 300

    def track_to_jax(self, workload: str) -> float:
        (row,) = first_calls([WORKLOADS[workload]])
        return known(row.ratio())

    track_to_jax.unit = "ratio"  # type: ignore[attr-defined]


class Memory:
    """Bytes by which three calls raise the peak of resident memory in a fresh process."""

    params = list(WORKLOADS)
    param_names = ["workload"]
    timeout = 300

    def track_peak(self, workload: str) -> float:
        return in_fresh_process("memory", workload, "gradloom")

    track_peak.unit = "bytes"  # type: ignore[attr-defined]


class Sizes:
    """Cost against size: n/16, n/8, ... n samples."""

    params = ([name for name, workload in WORKLOADS.items() if workload.size is not None], [16, 8, 4, 2, 1])
    param_names = ["workload", "part"]
    timeout = 300

    def setup(self, workload: str, part: int) -> None:
        whole = WORKLOADS[workload]
        assert whole.size is not None
        self.call = whole.at(whole.size // part).call("gradloom")
        for _ in range(3):
            self.call()

    def time_gradloom(self, workload: str, part: int) -> None:
        self.call()
