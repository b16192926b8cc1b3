"""Shares: tasks merged into few. What merged tasks wait for is compared with what each of their steps needs."""

from __future__ import annotations

from graphlib import TopologicalSorter

import numpy as np
import pytest

from gradloom.shares import shares
from gradloom.simulate import Link, simulate
from gradloom.tasks import Task


def branches(count: int, seconds: float = 1.0) -> list[Task]:
    """Return branches of two tasks side by side and a short one that joins them, and a sum of all."""
    tasks: list[Task] = []
    for _ in range(count):
        k = len(tasks)
        tasks += [Task((k,), (), seconds / 3), Task((k + 1,), (), 2 * seconds / 3), Task((k + 2,), (k, k + 1), 0.01)]
    k = len(tasks)
    return [*tasks, Task((k,), tuple([t for t in range(k) if t % 3 < 2]), 0.01)]


def random_tasks(seed: int) -> list[Task]:
    generator = np.random.default_rng(seed)
    found = []
    for t in range(40):
        after = generator.choice(t, size=min(t, generator.integers(0, 4)), replace=False) if t else []
        found.append(Task((t,), tuple(sorted(map(int, after))), float(generator.exponential())))
    return found


def test_branches_become_one_task_for_each_worker() -> None:
    found = shares(branches(6), 3.1)
    assert [round(task.seconds, 2) for task in found] == [3.03, 3.03, 0.01]
    assert found[2].after == (0, 1)


def test_one_task_for_each_branch() -> None:
    found = shares(branches(6), 1.1)
    assert [round(task.seconds, 2) for task in found] == [1.01] * 6 + [0.01]


@pytest.mark.parametrize("seed", range(20))
def test_tasks_of_different_length_become_two_that_take_about_as_long(seed: int) -> None:
    """As measured tasks are; a third one would start when both have ended."""
    lengths = np.random.default_rng(seed).uniform(0.7, 1.4, 8)
    tasks = [*[Task((k,), (), float(n)) for k, n in enumerate(lengths)], Task((8,), tuple(range(8)), 0.01)]
    one, other, last = shares(tasks, 1.1 * lengths.sum() / 2)
    assert last.after == (0, 1)
    assert abs(one.seconds - other.seconds) <= lengths.max()


def test_many_tasks_of_which_no_two_fit_together() -> None:
    """In about linear time: each try has an eighth more tasks."""
    tasks = [Task((k,), (), 0.6 + 1e-6 * (k % 7)) for k in range(20_000)]
    assert len(shares(tasks, 1.0)) == len(tasks)


def test_a_chain_becomes_one_task_whatever_it_takes() -> None:
    (found,) = shares([Task((k,), (k - 1,) if k else (), 1.0) for k in range(10)], 0.1)
    assert found == Task(tuple(range(10)), (), 10.0)


def test_tasks_that_take_long_stay_as_they_are() -> None:
    tasks = branches(2)
    assert [task.seconds for task in shares(tasks, 0.2)] == [task.seconds for task in tasks]


def test_needs_of_different_resources_keep_tasks_apart() -> None:
    tasks = [Task((0,), (), 1.0), Task((1,), (), 1.0, "GPU=1"), Task((2,), (0, 1), 1.0), Task((3,), (2,), 1.0, "GPU=1")]
    assert [task.resource for task in shares(tasks, 10.0)] == [None, "GPU=1", None, "GPU=1"]


@pytest.mark.parametrize("most", [0.5, 2.0, 8.0])
@pytest.mark.parametrize("seed", range(40))
def test_every_order_is_kept_without_a_circle(seed: int, most: float) -> None:
    tasks = random_tasks(seed)
    found = shares(tasks, most)
    place = {k: t for t, task in enumerate(found) for k in task.steps}
    assert sorted(k for task in found for k in task.steps) == list(range(len(tasks)))
    for k, task in enumerate(tasks):
        assert {place[j] for j in task.after} - {place[k]} <= set(found[place[k]].after)
    assert len(list(TopologicalSorter(dict(enumerate([task.after for task in found]))).static_order())) == len(found)
    assert sum([task.seconds for task in found]) == pytest.approx(sum([task.seconds for task in tasks]))


def test_fewer_tasks_end_sooner_where_each_costs_much() -> None:
    link = Link(1e9, 0.1, task_seconds=0.1)
    tasks = branches(6)
    assert simulate(shares(tasks, 3.1), 2, None, link).seconds < 0.9 * simulate(tasks, 2, None, link).seconds
