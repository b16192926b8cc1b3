"""Shares: tasks merged into few, for workers that tasks have to travel to."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from math import ceil

from gradloom.tasks import Merging, Task

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
    merging = Merging(
        [task.steps for task in tasks],
        [task.after for task in tasks],
        [task.seconds for task in tasks],
        [task.resource for task in tasks],
    )
    _merge_in_line(merging, most)
    for _ in range(ROUNDS):
        if not _merge_side_by_side(merging, most):
            break
        _merge_in_line(merging, most)
    return merging.tasks()


def _merge_in_line(merging: Merging, most: float) -> None:
    """Merge tasks with the only ones that they wait for."""
    waits, followers, resources = merging.waits, merging.followers, merging.resources
    left = list(range(len(merging.steps)))
    while left:
        t = left.pop()
        if len(waits[t]) != 1:
            continue
        (other,) = waits[t]
        if resources[t] != resources[other] or not (len(followers[other]) == 1 or _fit(merging, t, other, most)):
            continue
        fewer = followers[t] & followers[other]  # these wait for one task less
        into = merging.merge(t, other)
        left += [into, *fewer]
        if len(followers[into]) == 1:
            left += followers[into]


def _merge_side_by_side(merging: Merging, most: float) -> bool:
    """Merge tasks that wait for the same, and that the same wait for; return whether there were any."""
    alike: dict[tuple[frozenset[int], frozenset[int], str | None], list[int]] = {}
    for t, own in enumerate(merging.steps):
        if own and merging.seconds[t] < most:
            key = frozenset(merging.waits[t]), frozenset(merging.followers[t]), merging.resources[t]
            alike.setdefault(key, []).append(t)
    found = False
    for group in alike.values():
        for together in _balanced(group, merging.seconds, most):
            into = together[0]
            for t in together[1:]:
                into = merging.merge(t, into)
                found = True
    return found


def _balanced(tasks: Sequence[int], seconds: Sequence[float], most: float) -> list[list[int]]:
    """Return tasks in about as few groups as take some seconds at most, all about as long.

    The longest task first, each goes to the group that takes least so far.
    """
    ordered = sorted(tasks, key=lambda t: (-seconds[t], t))
    count = max(1, ceil(sum([seconds[t] for t in tasks]) / most))
    while count < len(ordered):
        lengths = [(0.0, n) for n in range(count)]
        groups: list[list[int]] = [[] for _ in range(count)]
        for t in ordered:
            length, n = lengths[0]
            groups[n].append(t)
            heapq.heapreplace(lengths, (length + seconds[t], n))
        if max(lengths)[0] <= most:
            return [group for group in groups if group]
        count += 1 + count // 8
    return [[t] for t in ordered]


def _fit(merging: Merging, t: int, other: int, most: float) -> bool:
    return merging.seconds[t] + merging.seconds[other] <= most
