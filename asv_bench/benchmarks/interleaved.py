"""Time several calls side by side, so that a noisy machine slows all of them alike."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

#: A batch is long enough for a call to find its own data in the caches, as in a loop.
BATCH_SECONDS = 0.005
LEAST_ROUNDS = 5
#: Before each turn nothing runs for so long. The threads of most libraries look out for more work a while after a
#: call, on the cores that the next library would use: without a rest, what is measured depends on who came before.
REST_SECONDS = 0.03
#: Part of the time that is measured for which each call runs before: code may be compiled better while it runs.
WARM_UP = 0.4


def samples(
    calls: Mapping[str, Callable[[], Any]], seconds: float, warm_up: int = 3, *, rest: bool = True
) -> dict[str, list[float]]:
    """Return seconds per call of each, warmed up, of short batches that take turns in random order.

    Each turn is a rest, an unmeasured batch, and the measured one; or the last alone.

    Parameters
    ----------
    calls : mapping
        Functions of no arguments, by name.
    seconds : float
        About how long to measure, all calls together.
    warm_up : int
        Unmeasured calls of each first, at least.
    rest : bool, default True
        Whether a turn begins with a rest: not needed between calls of one library.
    """
    sizes = {}
    for name, call in calls.items():
        warm = time.perf_counter() + WARM_UP * seconds
        for _ in range(warm_up):
            call()
        while time.perf_counter() < warm:
            call()
        sizes[name] = max(1, int(BATCH_SECONDS / max(batch(call, 1), 1e-7)))
    times: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    shuffle = random.Random(0).shuffle
    deadline = time.perf_counter() + seconds
    rounds = 0
    while rounds < LEAST_ROUNDS or time.perf_counter() < deadline:
        shuffle(order)
        for name in order:
            if rest:
                time.sleep(REST_SECONDS)
                batch(calls[name], sizes[name])
            times[name].append(batch(calls[name], sizes[name]))
        rounds += 1
    return times


def medians(calls: Mapping[str, Callable[[], Any]], seconds: float) -> dict[str, float]:
    """Return the median seconds per call of each."""
    return {name: statistics.median(times) for name, times in samples(calls, seconds).items()}


def paired(times: Mapping[str, list[float]], one: str, other: str) -> float:
    """Return the ratio of two calls: the median over the rounds.

    What slows a machine for longer than a round slows both, so that some hundred rounds tell 1 %.
    """
    return statistics.median([a / b for a, b in zip(times[one], times[other], strict=True)])


def least(call: Callable[[], Any], repeats: int = 20, count: int = 1) -> float:
    """Return the least seconds per call, of several batches of ``count`` calls."""
    return min(batch(call, count) for _ in range(repeats))


def batch(call: Callable[[], Any], count: int) -> float:
    """Return the seconds per call of ``count`` calls in a row."""
    start = time.perf_counter()
    for _ in range(count):
        call()
    return (time.perf_counter() - start) / count
