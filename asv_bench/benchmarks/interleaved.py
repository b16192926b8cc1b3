"""Time several calls side by side, so that a noisy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

#: A batch is long enough for a call to find its own data in the caches, as in a loop.
BATCH_SECONDS = 0.005


def medians(calls: Mapping[str, Callable[[], Any]], seconds: float = 2.0, warm_up: int = 5) -> dict[str, float]:
    """Return the median seconds per call of each, warmed up, in short batches that take turns.

    Parameters
    ----------
    calls : mapping
        Functions of no arguments, by name.
    seconds : float
        About how long to measure, all calls together.
    warm_up : int
        Unmeasured calls of each first.
    """
    sizes = {}
    for name, call in calls.items():
        for _ in range(warm_up):
            call()
        sizes[name] = max(1, int(BATCH_SECONDS / max(_batch(call, 1), 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(next(iter(times.values()))) < 5:
        for name, call in calls.items():
            times[name].append(_batch(call, sizes[name]))
    return {name: statistics.median(t) for name, t in times.items()}


def _batch(call: Callable[[], Any], count: int) -> float:
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
