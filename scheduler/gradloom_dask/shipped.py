"""Shipped: a plan that the workers of a cluster hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import final

from dask.utils import format_bytes

from gradloom.errors import SchedulerError
from gradloom.plan import Plan
from gradloom.schedule import Schedule
from gradloom.simulate import WORTH_PARTING, simulate, traffic, value_bytes
from gradloom.source import RawSource, Source
from gradloom.tasks import Task, view_steps
from gradloom_dask.cluster import LINK
from gradloom_dask.kept import LARGE


@final
class Shipped:
    """A plan that the workers hold: its tasks, and which of their values go where.

    Attributes
    ----------
    name : str
        Name of the plugin that holds it: a hash of its content.
    seconds : float
        Estimated time.
    blas : int or None
        How many threads BLAS takes a call; None if it does not matter.
    inputs : list of tuple of int
        For each task, the plan's inputs that it takes.
    home : str or None
        The worker that all of it runs on, if that matters.
    returning : set of int
        Outputs that may come back as inputs: at first all that could, later those of which the last ones did.
    """

    def __init__(self, name: str, plan: Plan, tasks: Sequence[Task], blas: int | None) -> None:
        self.name = name
        self.tasks = tasks
        self.blas = blas
        self.seconds = sum([task.seconds for task in tasks])
        self.registered = False
        self.home: str | None = None
        schedule = Schedule(plan, tasks)
        given = set(plan.graph.inputs)
        maker = {i: t for t, own in enumerate(schedule.exports) for i in own}
        taken = {plan.graph.specs[i] for i in given}
        specs = zip(plan.outputs, plan.graph.output_specs(), strict=True)
        self.returning = {i for i, spec in specs if i in maker and spec in taken}
        nbytes = value_bytes(plan)
        self.inputs = [tuple([i for i in own if i in given]) for own in schedule.imports]
        #: Parts of what a task exports that travel alone: (task, ids).
        self.picks: list[tuple[int, tuple[int, ...]]] = []

        def part(t: int, ids: tuple[int, ...], worth: int = WORTH_PARTING) -> str:
            if sum([nbytes[i] for i in schedule.exports[t] if i not in ids]) < worth:
                return f"{t}"
            if (t, ids) not in self.picks:
                self.picks.append((t, ids))
            return f"{t}-{self.picks.index((t, ids))}"

        #: For each task, the suffixes of the keys that it takes results of.
        self.others: list[list[str]] = []
        for t, task in enumerate(tasks):
            wanted: dict[int, list[int]] = {other: [] for other in task.after}
            for i in schedule.imports[t]:
                if i in maker:
                    wanted.setdefault(maker[i], []).append(i)
            self.others.append([part(other, tuple(ids)) for other, ids in wanted.items()])
        wanted = {}
        for i in plan.outputs:
            if i in maker:
                wanted.setdefault(maker[i], []).append(i)
        #: Suffixes of the keys that hold the plan's outputs.
        self.results = [part(t, tuple(ids)) for t, ids in wanted.items()]
        #: Outputs by the suffix of the key that holds them where they stay on the workers: those that are large and
        #: those that are small stand apart, so that whoever holds on to the latter does not to the former.
        self.staying: dict[str, tuple[int, ...]] = {}
        for t, ids in wanted.items():
            for large in (True, False):
                group = tuple([i for i in ids if (nbytes[i] > LARGE) is large])
                if group:
                    suffix = part(t, group, LARGE)
                    self.staying[suffix] = self.staying.get(suffix, ()) + group
        #: The latest answer of `places`, and for which workers.
        self._places: tuple[dict[str, int], dict[str, str]] = {}, {}

    def places(self, plan: Plan, workers: Mapping[str, int]) -> dict[str, str]:
        """Return which worker each task and pick is to run on, by suffix of its key; nothing for a single worker.

        Parameters
        ----------
        plan : Plan
        workers : mapping
            Threads by address.
        """
        if self.home is not None:
            names = [f"{t}" for t in range(len(self.tasks))] + [f"{t}-{n}" for n, (t, _) in enumerate(self.picks)]
            return dict.fromkeys(names, self.home)
        if self._places[0] != workers:
            # The first threads of all workers come before the second ones, so that tasks spread over workers.
            slots = [(n, address) for address, threads in workers.items() for n in range(threads)]
            lanes = [address for _, address in sorted(slots)]
            found: dict[str, str] = {}
            if len(workers) > 1:
                run = simulate(self.tasks, len(lanes), traffic(plan, self.tasks), LINK)
                found = {f"{t}": lanes[lane] for t, lane in enumerate(run.places)}
                found.update({f"{t}-{n}": found[f"{t}"] for n, (t, _) in enumerate(self.picks)})
            self._places = dict(workers), found
        return self._places[1]

    def describe(self, t: int, plan: Plan, sources: Sequence[RawSource | None] = ()) -> str:
        """Return which ops a task runs, and where the user wrote the first of them."""
        count = len(plan.graph.nodes)
        nodes = [plan.steps[k].out for k in self.tasks[t].steps if plan.steps[k].out < count]
        names = list(dict.fromkeys([plan.graph.nodes[i][0].name for i in nodes]))
        written = sources or plan.graph.sources
        lines = [Source(*raw) for i in nodes if (raw := written[i]) is not None]
        where = f", from {lines[0]} on" if lines else ""
        return f"the ops {', '.join(names[:8])}{', ...' if len(names) > 8 else ''}{where}"

    def lost(
        self, plan: Plan, tries: int, cause: BaseException, sources: Sequence[RawSource | None] = ()
    ) -> SchedulerError:
        """Return the error for a run whose data the cluster has lost again and again."""
        t = max(range(len(self.tasks)), key=lambda t: self.peak_bytes(t, plan))
        largest = self.describe(t, plan, sources)
        return SchedulerError(
            f"the cluster lost the data of a run {tries} times; its largest task runs {largest}",
            op="scheduler",
            expected=f"workers that stay alive; {self.needs(t, plan)}",
            got=str(cause),
            remedy="raise memory_limit, or look for a crash in the logs of the workers",
        )

    def needs(self, t: int, plan: Plan) -> str:
        """Return how much memory a task needs, in words."""
        return f"the values of that task take {format_bytes(self.peak_bytes(t, plan))}"

    def peak_bytes(self, t: int, plan: Plan) -> int:
        """Return the bytes of the values that a task holds at once, at most."""
        schedule = Schedule(plan, self.tasks)
        sizes = {i: plan.graph.specs[i].nbytes for i in plan.graph.inputs} | value_bytes(plan)
        views = {plan.steps[k].out for k in view_steps(plan)}
        held = {i: sizes.get(i, 0) for i in schedule.imports[t]}
        now = most = int(sum(held.values()))
        for k, drop in zip(self.tasks[t].steps, schedule.drops[t], strict=True):
            out = plan.steps[k].out
            held[out] = 0 if out in views else sizes[out]
            now += held[out]
            most = max(most, now)
            now -= sum([held.pop(i, 0) for i in drop])
        return most
