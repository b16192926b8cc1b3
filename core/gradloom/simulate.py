"""Simulate: how long the tasks of a plan take on some number of workers, and which runs where."""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, final

import numpy as np

from gradloom.observer import Span
from gradloom.plan import Plan
from gradloom.schedule import Schedule
from gradloom.shares import shares
from gradloom.tasks import GAIN, TASK_SECONDS, Task, cuts

#: The values of a task travel together, but for such as save so many bytes by travelling without the others: these are
#: chosen by a task of their own, which takes some 4 ms.
WORTH_PARTING = 2**22
#: Where tasks travel, a plan is also cut into two tasks, and into one and two for each worker: how much longer than its
#: part one of them may take.
SLACK = 1.1


@final
@dataclass(frozen=True)
class Traffic:
    """What tasks hand to each other, in bytes.

    Attributes
    ----------
    between : sequence of mapping
        For each task, by other task, what it takes from that.
    results : sequence of int
        For each task, what goes from it to the caller.
    inputs : int
        What the caller gives.
    parts : sequence of int
        For each task, how many parts of its values travel without the others; none by default.
    """

    between: Sequence[Mapping[int, int]]
    results: Sequence[int]
    inputs: int = 0
    parts: Sequence[int] = ()


@final
class Link(NamedTuple):
    """What lies between workers; by default they share memory.

    Attributes
    ----------
    bandwidth : float
        Bytes a second that a worker takes from others, and the caller from all.
    latency : float
        Seconds until a message, or the first byte of a value, arrives.
    task_seconds : float
        What a worker spends on a task besides running it, and on each part of its values that travels alone.
    caller_seconds : float
        What a task, or such a part, takes the caller before the first task starts.
    value_seconds : float
        What the values of a task take where they arrive, besides their bytes.
    hashing : float
        Bytes a second at which the caller hashes inputs, to know what the workers have.
    run_seconds : float
        What a run costs its caller besides.
    slowdown : float
        How many times as long a task takes while another runs: cores of one machine share its memory.
    """

    bandwidth: float = float("inf")
    latency: float = 0.0
    task_seconds: float = TASK_SECONDS
    caller_seconds: float = 0.0
    value_seconds: float = 0.0
    hashing: float = float("inf")
    run_seconds: float = 0.0
    slowdown: float = 1.0


@final
@dataclass(frozen=True)
class Simulation:
    """A simulated run: its time in seconds, which steps ran on which worker, and the number of each task's worker."""

    seconds: float
    spans: list[Span]
    places: list[int]


def traffic(plan: Plan, tasks: Sequence[Task]) -> Traffic:
    """Return what the tasks of a plan hand to each other."""
    schedule = Schedule(plan, tasks)
    maker = {i: t for t, own in enumerate(schedule.exports) for i in own}
    nbytes = value_bytes(plan)
    whole = [sum([nbytes[i] for i in own]) for own in schedule.exports]

    parts: list[set[frozenset[int]]] = [set() for _ in tasks]

    def moved(t: int, wanted: Collection[int]) -> int:
        """Return how many bytes of a task travel to whoever wants some of its values."""
        size = sum([nbytes[i] for i in wanted])
        if whole[t] - size < WORTH_PARTING:
            return whole[t]
        parts[t].add(frozenset(wanted))
        return size

    between: list[dict[int, int]] = []
    for own in schedule.imports:
        taken: dict[int, list[int]] = {}
        for i in own:
            if i in maker:
                taken.setdefault(maker[i], []).append(i)
        between.append({t: moved(t, wanted) for t, wanted in taken.items()})
    outputs = set(plan.outputs)
    given = [[i for i in own if i in outputs] for own in schedule.exports]
    results = [moved(t, own) if own else 0 for t, own in enumerate(given)]
    inputs = sum([plan.graph.specs[i].nbytes for i in plan.graph.inputs])
    return Traffic(between, results, inputs, list(map(len, parts)))


def value_bytes(plan: Plan) -> dict[int, int]:
    """Return the size of each value that a step makes."""
    count = len(plan.graph.nodes)
    found = {}
    for step in plan.steps:
        spec = plan.graph.specs[step.out if step.out < count else step.inputs[0]]
        found[step.out] = sum([s.nbytes for s in spec]) if type(spec) is tuple else spec.nbytes
    return found


@final
@dataclass(frozen=True)
class Cut:
    """The tasks that a plan is cut into, and what they hand to each other."""

    tasks: Sequence[Task]
    moved: Traffic

    def run(self, workers: int, link: Link) -> Simulation:
        """Simulate a run; in shared memory a single task runs where the caller is, and costs nothing besides."""
        at_home = len(self.tasks) == 1 and not link.latency
        return simulate(self.tasks, workers, self.moved, link._replace(task_seconds=0.0) if at_home else link)

    def with_seconds(self, seconds: Sequence[float]) -> Cut:
        """Return the same tasks with other times of the steps."""
        return Cut(with_seconds(self.tasks, seconds), self.moved)


def with_seconds(tasks: Sequence[Task], seconds: Sequence[float]) -> list[Task]:
    """Return tasks with the times that their steps have together."""
    return [replace(task, seconds=sum([seconds[k] for k in task.steps])) for task in tasks]


def choose_cuts(plan: Plan, seconds: Sequence[float], counts: Iterable[int], link: Link) -> dict[int, Cut]:
    """Return, by number of workers, the coarsest cut of a plan among those that end soonest, as executors choose it."""
    counts = list(counts)
    apart = bool(plan.resources) or max(counts, default=1) > 1
    tried = cuts(plan, seconds, link.task_seconds) if apart else []
    if not plan.resources:  # one task cannot have several
        tried.insert(0, [Task(tuple(range(len(seconds))), (), sum(seconds))])
    found = [Cut(tasks, traffic(plan, tasks)) for tasks in tried]
    chosen = {}
    for n in counts:
        best, shortest = found[0], found[0].run(n, link).seconds
        others = found[1:] if n > 1 or plan.resources else []
        if others and link.latency:  # what travels costs much, whatever it takes to run
            merged = [shares(tried[-1], SLACK * sum(seconds) / count) for count in sorted({2, n, 2 * n})]
            others = [*[Cut(tasks, traffic(plan, tasks)) for tasks in merged], *others]
        for other in others:
            end = other.run(n, link).seconds
            if end < GAIN * shortest:
                best, shortest = other, end
        chosen[n] = best
    return chosen


def simulate(
    tasks: Sequence[Task],
    workers: int,
    moved: Traffic | None = None,
    link: Link = Link(),  # noqa: B008  (immutable)
) -> Simulation:
    """Simulate a run of tasks.

    Parameters
    ----------
    tasks : sequence of Task
    workers : int
        How many there are; each runs one task at a time.
    moved : Traffic, optional
        What tasks hand to each other; by default nothing.
    link : Link

    Notes
    -----
    A list schedule. Tasks are taken as they become ready, those of one moment in order, and each goes to the worker
    where it can start first, of several to one that has most of its inputs: one that makes them, or is free
    first. Whoever hands out tasks hears of an end, and tells of the next start, after one ``latency``. What a
    task takes from other workers arrives one value after the other, each once for each worker, after a further
    ``latency``. In the end the outputs go to the caller one after the other. Inputs of the plan are where they
    are needed; that they are, the caller finds out by their hashes.
    """
    return _Run(tasks, workers, moved or Traffic([{}] * len(tasks), [0] * len(tasks)), link).result()


def slowed_down(run: Simulation, slowdown: float) -> Simulation:
    """Return a run in which all takes longer by a factor while more than one task runs."""
    changes = [(moment, by) for s in run.spans if not s.moving for moment, by in ((s.start, 1), (s.end, -1))]
    before, after = [0.0], [0.0]
    running = 0
    for moment, by in sorted(changes):
        after.append(after[-1] + (moment - before[-1]) * (slowdown if running > 1 else 1.0))
        before.append(moment)
        running += by

    def later(moment: float) -> float:
        return float(np.interp(moment, before, after)) + max(0.0, moment - before[-1])

    spans = [span._replace(start=later(span.start), end=later(span.end)) for span in run.spans]
    return Simulation(later(run.seconds), spans, run.places)


@dataclass
class _Worker:
    """When a worker and its incoming link are free, and when it has the values of which tasks."""

    free: float = 0.0
    link_free: float = 0.0
    has: dict[int, float] = field(default_factory=dict)


class _Run:
    """One simulated run."""

    def __init__(self, tasks: Sequence[Task], count: int, moved: Traffic, link: Link) -> None:
        self.tasks = tasks
        self.workers = [_Worker() for _ in range(count)]
        self.moved = moved
        self.link = link
        #: In shared memory nothing travels.
        shared = not link.latency and link.bandwidth == float("inf")
        self.parts = moved.parts if moved.parts and not shared else [0] * len(tasks)
        self.place = [0] * len(tasks)
        self.ends = [0.0] * len(tasks)
        self.spans: list[Span] = []
        #: Workers by when they are free; entries that are out of date are passed over.
        self._idle = [(0.0, w) for w in range(count)]

    def result(self) -> Simulation:
        followers: list[list[int]] = [[] for _ in self.tasks]
        waiting = [len(task.after) for task in self.tasks]
        for t, task in enumerate(self.tasks):
            for other in task.after:
                followers[other].append(t)
        begin = self.link.run_seconds + self.link.latency + self.moved.inputs / self.link.hashing
        begin += self.link.caller_seconds * (len(self.tasks) + sum(self.parts))
        ready = [(begin, t) for t, n in enumerate(waiting) if n == 0]
        heapq.heapify(ready)
        while ready:
            now, t = heapq.heappop(ready)
            self._place(t, now)
            for other in followers[t]:
                waiting[other] -= 1
                if waiting[other] == 0:
                    last = max([self.ends[k] for k in self.tasks[other].after])
                    heapq.heappush(ready, (last + self.link.latency, other))
        end = max(self.ends, default=0.0)
        if self.tasks:
            given = [nbytes for nbytes in self.moved.results if nbytes]
            end += self.link.latency + len(given) * self.link.value_seconds
            end += sum(given) / self.link.bandwidth
        run = Simulation(end, self.spans, self.place)
        return run if self.link.slowdown == 1.0 else slowed_down(run, self.link.slowdown)

    def _place(self, t: int, now: float) -> None:
        """Run a task that is ready where it can start first."""
        while self.workers[self._idle[0][1]].free != self._idle[0][0]:
            heapq.heappop(self._idle)
        taken = self.moved.between[t]
        candidates = {self._idle[0][1], *[self.place[other] for other in taken]}
        # Sorted, so that the choice among equals is the same every time.
        start, _, w = min([(*self._start(t, w, now), w) for w in sorted(candidates)])
        worker = self.workers[w]
        lane = f"worker {w + 1}"
        missing = [other for other in taken if self.place[other] != w and other not in worker.has]
        if missing:
            self._fetch(worker, missing, t, now)
            if self.link.latency or self.link.bandwidth < float("inf"):
                self.spans.append(Span(self.tasks[t].steps, now, worker.link_free, lane, moving=True))
        end = start + self.tasks[t].seconds + self.link.task_seconds * (1 + self.parts[t])
        self.spans.append(Span(self.tasks[t].steps, start, end, lane))
        worker.free = self.ends[t] = end
        self.place[t] = w
        heapq.heappush(self._idle, (end, w))

    def _start(self, t: int, w: int, now: float) -> tuple[float, int]:
        """Return when a worker could start a task, and how many bytes it would have to take for it."""
        worker = self.workers[w]
        start, nbytes = max(now, worker.free), 0
        arrival = max(now, worker.link_free)
        for other, size in self.moved.between[t].items():
            if self.place[other] == w:
                continue
            if other in worker.has:
                start = max(start, worker.has[other])
                continue
            arrival += self._transfer(size)
            start = max(start, arrival + self.link.latency)
            nbytes += size
        return start, nbytes

    def _fetch(self, worker: _Worker, missing: Sequence[int], t: int, now: float) -> None:
        """Let a worker take values from others."""
        worker.link_free = max(now, worker.link_free)
        for other in missing:
            worker.link_free += self._transfer(self.moved.between[t][other])
            worker.has[other] = worker.link_free + self.link.latency

    def _transfer(self, nbytes: int) -> float:
        return self.link.value_seconds + nbytes / self.link.bandwidth
