"""Gradients of small programs: seconds per call, and the ratio to the best peer."""

from __future__ import annotations

from benchmarks.interleaved import medians
from benchmarks.workloads import WORKLOADS


class Gradients:
    params = list(WORKLOADS)
    param_names = ["workload"]

    def setup(self, workload: str) -> None:
        self.calls = WORKLOADS[workload]()
        for _ in range(5):
            self.calls["gradloom"]()

    def time_gradloom(self, workload: str) -> None:
        self.calls["gradloom"]()

    def track_ratio_to_best_peer(self, workload: str) -> float:
        peers = {name for name in self.calls if name != "gradloom"}
        if not peers:
            raise NotImplementedError("no peer is installed")
        times = medians(self.calls)
        return times["gradloom"] / min(times[name] for name in peers)

    track_ratio_to_best_peer.unit = "ratio"  # type: ignore[attr-defined]
