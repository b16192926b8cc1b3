"""The order in which tasks that can start do so."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import pytest

from gradloom.agenda import Agenda, longest_ways


def run(seconds: Sequence[float], after: Sequence[Sequence[int]], workers: int) -> tuple[float, list[int]]:
    """Run tasks by an agenda; return when the last ends, and their order."""
    followers = [[t for t, others in enumerate(after) if other in others] for other in range(len(seconds))]
    agenda = Agenda(seconds, longest_ways(seconds, followers), workers)
    waiting = list(map(len, after))
    for t, count in enumerate(waiting):
        if not count:
            agenda.add(t)
    order: list[int] = []
    running: list[tuple[float, int]] = []
    now = 0.0
    while agenda or running:
        while agenda and len(running) < workers:
            order.append(agenda.take())
            heapq.heappush(running, (now + seconds[order[-1]], order[-1]))
        now, t = heapq.heappop(running)
        for other in followers[t]:
            waiting[other] -= 1
            if not waiting[other]:
                agenda.add(other)
    return now, order


def test_the_longest_way_counts_what_must_follow() -> None:
    """Also where tasks are not numbered in the order in which they run."""
    assert longest_ways([1.0, 2.0, 4.0, 8.0], [[3], [], [0, 1], []]) == [9.0, 2.0, 13.0, 8.0]


def test_every_task_is_taken_once() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 30):
        after = [[int(k) for k in rng.permutation(t)[: rng.integers(0, 3)]] for t in range(count)]
        for workers in (1, 3):
            assert sorted(run(list(rng.exponential(size=count)), after, workers)[1]) == list(range(count))


def test_no_worker_is_left_with_a_long_branch() -> None:
    """Six branches of a short and a long part: in the order of the program the last long one would run alone."""
    seconds = [4.0, 9.0] * 6
    assert run(seconds, [()] * 12, 2)[0] == pytest.approx(39.0)


def test_equal_tasks_are_taken_in_the_order_of_the_program() -> None:
    assert run([1.0] * 40, [()] * 40, 2)[1] == list(range(40))


@pytest.mark.parametrize("workers", [2, 4])
def test_many_branches_hold_little(workers: int) -> None:
    """Branches of four parts go on one after the other; their first parts do not all go first."""
    seconds = list(np.random.default_rng(1).uniform(1.0, 20.0, 256))
    after = [[t - 1] if t % 4 else [] for t in range(256)]
    end, order = run(seconds, after, workers)
    assert end < 1.02 * sum(seconds) / workers
    first = {t: n for n, t in enumerate(order)}
    begun = [sum([first[t] <= n < first[t + 3] for t in range(0, 256, 4)]) for n in range(256)]
    assert max(begun) <= 5 * workers
