"""Time several calls side by side, so that a noisy machine slows all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any


def medians(calls: Mapping[str, Callable[[], Any]], seconds: float = 2.0, warm_up: int = 5) -> dict[str, float]:
    """Return the median seconds per call of each, warmed up and interleaved.

    Parameters
    ----------
    calls : mapping
        Functions of no arguments, by name.
    seconds : float
        About how long to measure, all calls together.
    warm_up : int
        Unmeasured calls of each first.
    """
    for call in calls.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(next(iter(times.values()))) < 5:
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}
