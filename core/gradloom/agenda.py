"""Agenda: the tasks of a run that can start, and which of them goes first."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from typing import final

#: A task is urgent where the way from it to the end takes more than one part in so many of the work that is left for
#: each worker: up to the end of a run nothing is, in the last stretch the longest ways are.
URGENT = 2.0


def longest_ways(seconds: Sequence[float], followers: Sequence[Sequence[int]]) -> list[float]:
    """Return, for each task, what it and those that must run after it take, one after the other."""
    before: list[list[int]] = [[] for _ in seconds]
    for t, others in enumerate(followers):
        for other in others:
            before[other].append(t)
    unknown = list(map(len, followers))
    ways = list(seconds)
    known = [t for t, count in enumerate(unknown) if not count]
    for t in known:  # which grows: tasks need not be numbered along the ways
        for other in before[t]:
            ways[other] = max(ways[other], seconds[other] + ways[t])
            unknown[other] -= 1
            if not unknown[other]:
                known.append(other)
    return ways


@final
class Agenda:
    """Tasks that can start; workers that share it ask one at a time.

    Parameters
    ----------
    seconds : sequence of float
        What each task is estimated to take. Tasks are numbered in the order of the program.
    ways : sequence of float
        See `longest_ways`.
    workers : int

    Notes
    -----
    In the order of the program branches go forth and back one after the other, which holds least memory; but the last
    worker may then be left alone with a long branch. So the task with the longest way before it goes first as
    soon as that way is urgent. With many tasks that is so near the end alone, and as little is held.
    """

    def __init__(self, seconds: Sequence[float], ways: Sequence[float], workers: int) -> None:
        self._seconds = seconds
        self._ways = ways
        self._workers = workers
        self._left = sum(seconds)
        self._in_order: list[int] = []
        self._by_way: list[tuple[float, int]] = []
        #: Tasks that were taken from one list and still stand in the other.
        self._taken: set[int] = set()

    def __bool__(self) -> bool:
        return len(self._in_order) + len(self._by_way) > len(self._taken)

    def add(self, t: int) -> None:
        """Note that a task can start."""
        heapq.heappush(self._in_order, t)
        heapq.heappush(self._by_way, (-self._ways[t], t))

    def take(self) -> int:
        """Return the task to start next."""
        while self._by_way[0][1] in self._taken:
            self._taken.discard(heapq.heappop(self._by_way)[1])
        while self._in_order[0] in self._taken:
            self._taken.discard(heapq.heappop(self._in_order))
        if URGENT * self._workers * -self._by_way[0][0] > self._left:
            t = heapq.heappop(self._by_way)[1]
        else:
            t = heapq.heappop(self._in_order)
        self._taken.add(t)
        self._left -= self._seconds[t]
        return t
