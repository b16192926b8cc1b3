"""Tasks: a plan cut into runs of kernels that can go on side by side.

Several cuts, from coarse to fine, are compared by the time that a list schedule of them takes.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import final

from gradloom.cost import Cost, node_cost
from gradloom.placement import TO_DEVICE
from gradloom.plan import Plan

#: Seconds that handing a task to a thread costs.
TASK_SECONDS = 100e-6
#: Steps that take less than this times the cost of a task join one beside them instead of starting one.
SMALL = 2.0
#: Sizes of tasks that are tried, in units of what a task costs, and what a finer cut must gain.
COARSENESS = (64.0, 16.0, 4.0, 1.0)
GAIN = 0.97
#: How many of the tasks that end before another are known one by one.
MAX_KNOWN = 64


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
    resource : str or None
        What a worker must have to run it, ``"GPU=1"``.
    """

    steps: tuple[int, ...]
    after: tuple[int, ...]
    seconds: float
    resource: str | None = None


def step_costs(plan: Plan) -> list[Cost]:
    """Return the estimated cost of each step of a plan."""
    graph, outline = plan.graph, plan.outline
    costs = {kind: node_cost(graph, outline.first[kind]) for kind in dict.fromkeys([c.kind for c in outline.calls])}
    copies = [Cost(0.0, 2.0 * graph.specs[copied].nbytes) for copied, _ in outline.copies]
    return [*[costs[call.kind] for call in outline.calls], *copies]


def view_steps(plan: Plan) -> frozenset[int]:
    """Return the steps that only show a value in another form; every task takes them itself."""
    nodes = plan.graph.nodes
    ops = [nodes[step.out][0] if step.out < len(nodes) else None for step in plan.steps]
    return frozenset([k for k, op in enumerate(ops) if op is not None and op.view and op is not TO_DEVICE])


def step_resources(plan: Plan) -> list[str | None]:
    """Return, for each step of a plan, the resource that its worker needs."""
    places = plan.places
    if places is None or not plan.resources:
        return [None] * len(plan.steps)
    found = [places[step.out] if step.out < len(places) else None for step in plan.steps]
    return [place if place in plan.resources else None for place in found]


def dependencies(plan: Plan, views: Collection[int] = ()) -> list[set[int]]:
    """Return, for each step, the steps that must run before it; instead of those in ``views``, what they show.

    A step that may overwrite its first argument also waits for all others that read it.
    """
    made: dict[int, int] = {}
    readers: dict[int, list[int]] = {}
    needed: list[set[int]] = []
    for k, step in enumerate(plan.steps):
        before = {made[i] for i in step.inputs if i in made}
        if step.attrs.get("donate"):
            before.update(readers.get(step.inputs[0], ()))
        for i in step.inputs:
            readers.setdefault(i, []).append(k)
        made[step.out] = k
        if not before.isdisjoint(views):
            shown = before.intersection(views)
            before = before.union(*[needed[j] for j in shown]) - shown
        needed.append(before)
    return needed


def longest_path(plan: Plan, seconds: Sequence[float]) -> float:
    """Return the time of the steps that must run one after the other; no cut of the plan takes less."""
    views = view_steps(plan)
    donates = any([step.attrs and step.attrs.get("donate") for step in plan.steps])
    #: By value: when it is there, and when all that read it so far have ended.
    made: dict[int, float] = {}
    read: dict[int, float] = {}
    longest = 0.0
    for k, (_, inputs, attrs, out, _, _) in enumerate(plan.steps):
        end = 0.0
        for i in inputs:
            if i in made and made[i] > end:
                end = made[i]
        if donates and attrs.get("donate"):  # see `dependencies`
            end = max(end, read.get(inputs[0], 0.0))
        if k not in views:
            end += seconds[k]
        for i in inputs if donates else ():
            if read.get(i, 0.0) < end:
                read[i] = end
        made[out] = end
        if end > longest:
            longest = end
    return longest


def cut(plan: Plan, seconds: Sequence[float], task_seconds: float = TASK_SECONDS) -> list[Task]:
    """Cut a plan into tasks: chains stay together, independent branches apart.

    Parameters
    ----------
    plan : Plan
    seconds : sequence of float
        Estimated time of each step.
    task_seconds : float
        What handing a task to a worker costs.

    Notes
    -----
    A step continues the task of a step it depends on, if that one came last there (a chain) or
    if the step is small, but only where no branches part and where the task has not to wait for anything
    new: a task starts when all it waits for has ended. So tasks never wait for each other in a circle. Views
    cost nothing: each task that needs one has its step. The steps of a task need the same resource.
    """
    views = view_steps(plan)
    resources = step_resources(plan)
    needed = dependencies(plan, views)
    small = SMALL * task_seconds
    forks = _forks(needed, views, seconds, small)
    steps: list[list[int]] = []
    earlier: list[_Earlier] = []
    task_of: dict[int, int] = {}
    for k, before in enumerate(needed):
        if k in views:
            continue
        found = {task_of[j] for j in before}
        # A task waits only for such as began before it, so no other than the last can wait for the rest.
        chosen = max(found, default=None)
        joins = False
        if chosen is not None:
            last = steps[chosen][-1]
            joins = resources[last] == resources[k] and not forks[k] and (last in before or seconds[k] < small)
        if chosen is None or not joins or not all([t == chosen or t in earlier[chosen] for t in found]):
            chosen = len(steps)
            steps.append([])
            earlier.append(_Earlier.of(found, earlier))
        steps[chosen].append(k)
        task_of[k] = chosen
    del earlier
    waits: list[set[int]] = [set() for _ in steps]
    for k, t in task_of.items():
        waits[t].update([task_of[j] for j in needed[k]])
    for t, wait in enumerate(waits):
        wait.discard(t)
    return _with_views(plan, views, _merged(steps, waits, seconds, small, resources))


def _forks(needed: Sequence[set[int]], views: frozenset[int], seconds: Sequence[float], small: float) -> list[bool]:
    """Return which steps begin one of several branches.

    A branch goes along the steps that wait longest: each follows that of its inputs which is there last, if all start
    as soon as they can. Where more than one branch of some length leaves a step, they must not go on in its task, as
    each of them would have to wait for the one that does.
    """
    ends = [0.0] * len(needed)
    # Of the branch so far; once it is not small, it counts as one step that others follow.
    lengths = [0.0] * len(needed)
    origins = [-1] * len(needed)
    branches: dict[int, int] = {}
    for k, before in enumerate(needed):
        if k in views:
            continue
        last = max(before, key=lambda j: (ends[j], j), default=-1)
        if last >= 0:
            ends[k] = ends[last]
            origins[k], lengths[k] = (last, 0.0) if lengths[last] >= small else (origins[last], lengths[last])
        ends[k] += seconds[k]
        lengths[k] += seconds[k]
        if lengths[k] >= small:
            branches[origins[k]] = branches.get(origins[k], 0) + 1
    return [lengths[k] >= small and branches[origins[k]] > 1 for k in range(len(needed))]


@final
class _Earlier:
    """Tasks that end before some task starts: all up to a number, and some of those above it.

    The latest few of those are known, so that this takes linear time and memory. It may miss some,
    but never holds one too many.
    """

    __slots__ = ("_above", "_floor")

    def __init__(self, floor: int, above: set[int]) -> None:
        while floor + 1 in above:
            floor += 1
        self._floor = floor
        left = [t for t in above if t > floor]
        self._above = frozenset(left if len(left) <= MAX_KNOWN else sorted(left)[-MAX_KNOWN:])

    def __contains__(self, t: int) -> bool:
        return t <= self._floor or t in self._above

    @staticmethod
    def of(waits: Collection[int], earlier: Sequence[_Earlier]) -> _Earlier:
        """Return what ends before a task that waits for some others."""
        above = set(waits)
        for t in sorted(waits)[-MAX_KNOWN:]:
            above |= earlier[t]._above
        return _Earlier(max([earlier[t]._floor for t in waits], default=-1), above)


def _with_views(plan: Plan, views: frozenset[int], tasks: list[Task]) -> list[Task]:
    """Return tasks each of which makes the views that it needs."""
    maker = {plan.steps[k].out: k for k in views}
    if not maker:
        return tasks
    found = []
    for task in tasks:
        own = set(task.steps)
        wanted = [i for k in task.steps for i in plan.steps[k].inputs if i in maker]
        while wanted:
            k = maker[wanted.pop()]
            if k not in own:
                own.add(k)
                wanted += [i for i in plan.steps[k].inputs if i in maker]
        found.append(replace(task, steps=tuple(sorted(own))))
    return found


def _merged(
    steps: list[list[int]],
    waits: list[set[int]],
    seconds: Sequence[float],
    small: float,
    resources: Sequence[str | None],
) -> list[Task]:
    """Merge small tasks into the only one that waits for them, or the only one they wait for.

    Neither can make a circle: a path from a task to its only follower is the direct one, and so
    is a path to a task from the only one that it waits for.
    """
    weight = [sum([seconds[k] for k in own]) for own in steps]
    merging = Merging(steps, waits, weight, [resources[own[0]] for own in steps])
    before, followers, weight, needs = merging.waits, merging.followers, merging.seconds, merging.resources
    changed = True
    while changed:
        changed = False
        for t, own in enumerate(merging.steps):
            if own and len(followers[t]) == 1:
                (other,) = followers[t]
                if needs[t] == needs[other] and (weight[t] < small or len(before[other]) == 1):
                    merging.merge(t, other)
                    changed = True
                    continue
            if own and len(before[t]) == 1 and weight[t] < small:
                (other,) = before[t]
                if needs[t] == needs[other]:
                    merging.merge(t, other)
                    changed = True
    return merging.tasks()


@final
class Merging:
    """Tasks by number while they are merged; a task that has gone has no steps.

    Parameters
    ----------
    steps : sequence of collection of int
        Two tasks may hold the same step: the view that both read.
    waits : sequence of collection of int
        Which tasks each one waits for.
    seconds : sequence of float
    resources : sequence of str or None
    """

    def __init__(
        self,
        steps: Sequence[Collection[int]],
        waits: Sequence[Collection[int]],
        seconds: Sequence[float],
        resources: Sequence[str | None],
    ) -> None:
        self.steps = [set(own) for own in steps]
        self.waits = [set(own) for own in waits]
        self.seconds = list(seconds)
        self.resources = resources
        #: Which tasks wait for each one.
        self.followers: list[set[int]] = [set() for _ in steps]
        for t, wait in enumerate(waits):
            for other in wait:
                self.followers[other].add(t)

    def merge(self, t: int, into: int) -> int:
        """Merge two tasks; return the number of the one that is left, which has more neighbours: few have to change."""
        steps, waits, followers = self.steps, self.waits, self.followers
        if len(waits[t]) + len(followers[t]) > len(waits[into]) + len(followers[into]):
            t, into = into, t
        if len(steps[t]) > len(steps[into]):
            steps[t], steps[into] = steps[into], steps[t]
        steps[into] |= steps[t]
        self.seconds[into] += self.seconds[t]
        for other in waits[t]:
            followers[other].discard(t)
            followers[other].add(into)
        for other in followers[t]:
            waits[other].discard(t)
            waits[other].add(into)
        for own in (waits, followers):
            own[into] |= own[t]
            own[into] -= {t, into}
        steps[t], waits[t], followers[t] = set(), set(), set()
        return into

    def tasks(self) -> list[Task]:
        """Return what is left."""
        left = [t for t, own in enumerate(self.steps) if own]
        place = {t: n for n, t in enumerate(left)}
        return [
            Task(
                tuple(sorted(self.steps[t])),
                tuple(sorted([place[other] for other in self.waits[t]])),
                self.seconds[t],
                self.resources[t],
            )
            for t in left
        ]


def cuts(plan: Plan, seconds: Sequence[float], task_seconds: float = TASK_SECONDS) -> list[list[Task]]:
    """Return cuts of a plan, from coarse to fine."""
    return [cut(plan, seconds, coarseness * task_seconds) for coarseness in COARSENESS]


def best_cut(plan: Plan, seconds: Sequence[float], workers: int, task_seconds: float = TASK_SECONDS) -> list[Task]:
    """Return the coarsest cut of a plan among those that end soonest, for some number of workers."""
    best = [Task(tuple(range(len(seconds))), (), sum(seconds))]
    shortest = sum(seconds) + task_seconds
    if plan.resources:  # one task cannot have several
        shortest = float("inf")
    for tasks in cuts(plan, seconds, task_seconds):
        end = makespan(tasks, workers, task_seconds)
        if end < GAIN * shortest:
            best, shortest = tasks, end
    return best


def makespan(tasks: Sequence[Task], workers: int, task_seconds: float = TASK_SECONDS) -> float:
    """Return the estimated time of tasks on some workers, started as soon as they can be."""
    followers = followers_of(tasks)
    waiting = [len(task.after) for task in tasks]
    ready = [(0.0, t) for t, n in enumerate(waiting) if n == 0]
    heapq.heapify(ready)
    free = [0.0] * workers
    possible = [0.0] * len(tasks)
    end = 0.0
    while ready:
        start, t = heapq.heappop(ready)
        finish = max(start, heapq.heappop(free)) + tasks[t].seconds + task_seconds
        heapq.heappush(free, finish)
        end = max(end, finish)
        for other in followers[t]:
            possible[other] = max(possible[other], finish)
            waiting[other] -= 1
            if waiting[other] == 0:
                heapq.heappush(ready, (possible[other], other))
    return end


def followers_of(tasks: Sequence[Task]) -> list[list[int]]:
    """Return, for each task, those that wait for it."""
    followers: list[list[int]] = [[] for _ in tasks]
    for t, task in enumerate(tasks):
        for other in task.after:
            followers[other].append(t)
    return followers
