"""Tasks: a plan cut into runs of kernels that can go on side by side."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from gradloom.cost import Cost, node_cost
from gradloom.plan import Plan

#: Seconds that handing a task to a thread costs.
TASK_SECONDS = 100e-6
#: Steps that take less than this join a task beside them instead of starting one.
SMALL_SECONDS = 2 * TASK_SECONDS
#: Plans with more steps are not cut.
MAX_STEPS = 20_000


@dataclass(frozen=True)
class Task:
    """A run of steps that one thread takes.

    Attributes
    ----------
    steps : tuple of int
        Positions in ``plan.steps``, in order.
    after : tuple of int
        Positions of the tasks that must end first.
    seconds : float
        Estimated time.
    """

    steps: tuple[int, ...]
    after: tuple[int, ...]
    seconds: float


def step_seconds(plan: Plan) -> list[float]:
    """Return the estimated time of each step of a plan."""
    count = len(plan.graph.nodes)
    costs = []
    for step in plan.steps:
        if step.out < count:
            costs.append(node_cost(plan.graph, step.out).seconds())
        else:
            spec = plan.graph.specs[step.inputs[0]]
            costs.append(Cost(0.0, 2.0 * spec.nbytes).seconds())
    return costs


def dependencies(plan: Plan) -> list[set[int]]:
    """Return, for each step, the steps that must run before it.

    A step that may overwrite its first argument also waits for all others that read it.
    """
    made: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    needed = []
    for k, step in enumerate(plan.steps):
        before = {made[i] for i in step.inputs if i in made}
        if step.attrs.get("donate"):
            before.update(readers.get(step.inputs[0], ()))
        for i in step.inputs:
            readers.setdefault(i, []).append(k)
        made[step.out] = k
        needed.append(before)
    return needed


def cut(plan: Plan) -> list[Task]:
    """Cut a plan into tasks: chains stay together, independent branches apart.

    A step continues the task of a step it depends on, if that one came last there (a chain) or
    if the step is small, but only where the task has not to wait for anything new: a task
    starts when all it waits for has ended. So tasks never wait for each other in a circle.
    """
    seconds = step_seconds(plan)
    needed = dependencies(plan)
    steps: list[list[int]] = []
    known: list[int] = []  # for each task, itself and all that end before it starts, as a bit set
    task_of: list[int] = []
    for k, before in enumerate(needed):
        found = sorted({task_of[j] for j in before}, reverse=True)
        needs = 0
        for t in found:
            needs |= known[t]
        chosen = None
        for t in found:
            if needs & ~known[t] == 0 and (steps[t][-1] in before or seconds[k] < SMALL_SECONDS):
                chosen = t
                break
        if chosen is None:
            chosen = len(steps)
            steps.append([])
            known.append(needs | 1 << chosen)
        steps[chosen].append(k)
        task_of.append(chosen)
    waits: list[set[int]] = [set() for _ in steps]
    for k, before in enumerate(needed):
        waits[task_of[k]].update(task_of[j] for j in before)
    return [
        Task(tuple(own), tuple(sorted(waits[t] - {t})), sum(seconds[k] for k in own)) for t, own in enumerate(steps)
    ]


def makespan(tasks: Sequence[Task], workers: int) -> float:
    """Return the estimated time of tasks on some workers, started as soon as they can be."""
    followers: list[list[int]] = [[] for _ in tasks]
    waiting = [len(task.after) for task in tasks]
    for t, task in enumerate(tasks):
        for other in task.after:
            followers[other].append(t)
    ready = [(0.0, t) for t, n in enumerate(waiting) if n == 0]
    heapq.heapify(ready)
    free = [0.0] * workers
    possible = [0.0] * len(tasks)
    end = 0.0
    while ready:
        start, t = heapq.heappop(ready)
        finish = max(start, heapq.heappop(free)) + tasks[t].seconds + TASK_SECONDS
        heapq.heappush(free, finish)
        end = max(end, finish)
        for other in followers[t]:
            possible[other] = max(possible[other], finish)
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, (possible[other], other))
    return end
