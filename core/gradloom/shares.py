"""Shares: tasks merged into few, for workers that tasks have to travel to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

from gradloom.tasks import Task, followers_of

#: How often tasks side by side are merged, and then those in line that this leaves.
ROUNDS = 8


def shares(tasks: Sequence[Task], most: float) -> list[Task]:
    """Return tasks merged into such as take some seconds at most.

    Parameters
    ----------
    tasks : sequence of Task
    most : float
        Seconds; tasks that take more stay as they are.

    Notes
    -----
    Merged are tasks side by side, which wait for the same and are waited for by the same; and a task with the only one
    that it waits for, whatever they take if nothing else waits for that. Neither can make a circle: there is no path
    between the former, and none but the direct one between the latter.
    """
    merging = _Merging(tasks, most)
    merging.in_line()
    for _ in range(ROUNDS):
        if not merging.side_by_side():
            break
        merging.in_line()
    return merging.tasks()


@final
class _Merging:
    """Tasks by number while they are merged; a task that has gone has no steps."""

    def __init__(self, tasks: Sequence[Task], most: float) -> None:
        self._most = most
        self._steps = [set(task.steps) for task in tasks]
        self._waits = [set(task.after) for task in tasks]
        self._followers = [set(own) for own in followers_of(tasks)]
        self._seconds = [task.seconds for task in tasks]
        self._resources = [task.resource for task in tasks]

    def in_line(self) -> None:
        """Merge tasks with the only ones that they wait for."""
        waits, followers = self._waits, self._followers
        left = list(range(len(self._steps)))
        while left:
            t = left.pop()
            if len(waits[t]) != 1:
                continue
            (other,) = waits[t]
            if self._resources[t] != self._resources[other] or not (len(followers[other]) == 1 or self._fit(t, other)):
                continue
            fewer = followers[t] & followers[other]  # these wait for one task less
            into = self._merge(t, other)
            left += [into, *fewer]
            if len(followers[into]) == 1:
                left += followers[into]

    def side_by_side(self) -> bool:
        """Merge tasks that wait for the same, and that the same wait for; return whether there were any."""
        alike: dict[tuple[frozenset[int], frozenset[int], str | None], list[int]] = {}
        for t, own in enumerate(self._steps):
            if own and self._seconds[t] < self._most:
                key = frozenset(self._waits[t]), frozenset(self._followers[t]), self._resources[t]
                alike.setdefault(key, []).append(t)
        found = False
        for group in alike.values():
            into = group[0]
            for t in group[1:]:
                if self._fit(t, into):
                    into = self._merge(t, into)
                    found = True
                else:
                    into = t
        return found

    def _fit(self, t: int, other: int) -> bool:
        return self._seconds[t] + self._seconds[other] <= self._most

    def _merge(self, t: int, into: int) -> int:
        """Merge two tasks; return the number of the one that is left, which has more neighbours: few have to change."""
        waits, followers = self._waits, self._followers
        if len(waits[t]) + len(followers[t]) > len(waits[into]) + len(followers[into]):
            t, into = into, t
        if len(self._steps[t]) > len(self._steps[into]):
            self._steps[t], self._steps[into] = self._steps[into], self._steps[t]
        self._steps[into] |= self._steps[t]
        self._seconds[into] += self._seconds[t]
        for other in waits[t]:
            followers[other].discard(t)
            followers[other].add(into)
        for other in followers[t]:
            waits[other].discard(t)
            waits[other].add(into)
        for own in (waits, followers):
            own[into] |= own[t]
            own[into] -= {t, into}
        self._steps[t], waits[t], followers[t] = set(), set(), set()
        return into

    def tasks(self) -> list[Task]:
        """Return what is left."""
        left = [t for t, own in enumerate(self._steps) if own]
        place = {t: n for n, t in enumerate(left)}
        return [
            Task(
                tuple(sorted(self._steps[t])),
                tuple(sorted([place[other] for other in self._waits[t]])),
                self._seconds[t],
                self._resources[t],
            )
            for t in left
        ]
