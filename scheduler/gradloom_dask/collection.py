"""Lazy tensors as dask collections: what `dask.compute` and its kin make of them.

The graph of one tensor holds its gradloom graph as one task. When dask optimises what it is about
to compute, the graphs of all tensors are merged, what they share is found, and the whole is cut
into tasks as any plan is.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import dask
import dask.threaded
import numpy as np

from gradloom.backend import backends
from gradloom.blas import limited_to
from gradloom.decision import decide
from gradloom.graph import INPUT, LITERAL, Graph, literal_key
from gradloom.lazy import Kept
from gradloom.persisted import chosen_workers
from gradloom.persisted import persist as persist_there
from gradloom.plan import Plan
from gradloom.program import choose_backend
from gradloom.schedule import Failures, Schedule
from gradloom.sharing import cores
from gradloom.simulate import choose_cuts
from gradloom.tasks import Task, step_costs
from gradloom_dask.chunks import Computation
from gradloom_dask.cluster import LINK
from gradloom_dask.dask_graph import Call, Ref, arguments_of, layer_graph, task_graph
from gradloom_dask.kept import Held
from gradloom_dask.packing import unpack
from gradloom_dask.place import amounts, require, require_here
from gradloom_dask.worker import Result, run_loaded, taken

#: Ends the key of the task that waits for a worker with what a tensor needs.
_WORKER = "-worker"


def token(graph: Graph, values: Sequence[Any]) -> str:
    """Return a hash of a graph and its inputs that is the same in every process."""
    digest = hashlib.blake2b(graph.content_hash().encode(), digest_size=16)
    for value in values:
        value = _in_graph(value)
        if type(value) is Held:
            digest.update(f"{value.future.key} {value.output}".encode())
            continue
        array = np.asarray(value)
        digest.update(f"{array.shape}{array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def key_of(graph: Graph, values: Sequence[Any]) -> str:
    """Return the key of one tensor: what dask's pictures call it, its op, and its token."""
    return f"gradloom.{graph.nodes[graph.outputs[0]][0].name}-{token(graph, values)}"


def graph_of(graph: Graph, values: Sequence[Any], key: str) -> Any:
    """Return the dask graph of one tensor: its inputs by content, and one task."""
    values = [_in_graph(value) for value in values]
    if len(graph.nodes) == 1 and type(values[0]) is Held:
        held = values[0]
        return {**task_graph({key: Call(taken, (held.output,), [Ref(held.future.key)])}), held.future.key: held.future}
    refs = [f"gradloom.input-{token(_IDENTITY, [value])}" for value in values]
    calls = {key: Call(run_alone, (graph,), [Ref(ref) for ref in refs])}
    data: dict[Any, Any] = {}
    for ref, value in zip(refs, values, strict=True):
        if type(value) is Held:
            calls[ref] = Call(taken, (value.output,), [Ref(value.future.key)])
            ref, value = value.future.key, value.future
        data[ref] = value
    computation, needs = Computation(graph), {}
    if computation.needs:
        needs[key] = amounts(computation.needs[0])
        calls[key + _WORKER] = Call(require, (), [computation])
        calls[key] = calls[key]._replace(others=[key + _WORKER])
    return layer_graph(key, {**task_graph(calls), **data}, needs)


def _in_graph(value: Any) -> Any:
    """Return an input of a tensor as it stands in a graph: an array, or `Held` where it is on workers."""
    if type(value) is not Kept:
        return value
    in_graph = getattr(value.future, "in_graph", None)
    return Held(value.future) if in_graph is None else in_graph()


def run_alone(graph: Graph, values: Sequence[Any], others: Sequence[Any]) -> Any:
    """Compute a graph of one output where it stands."""
    plan = Plan(graph, backends.get(choose_backend(values)))
    require_here(graph, plan.resources)
    with limited_to(1 if decide(plan).one_thread else None):
        return plan.run([unpack(value) for value in values])[0]


def optimize(graph: Any, keys: Any) -> Any:
    """Return a dask graph in which all its tensors are computed together, by tasks.

    The keys are those of the tensors, or of what dask makes of them in the end.
    """
    tasks = dict(graph)
    wanted = [key for key, task in tasks.items() if arguments_of(task, run_alone) is not None]
    if not wanted:
        return graph
    merger = _Merger()
    for key in wanted:
        tasks.pop(f"{key}{_WORKER}", None)
        found = arguments_of(tasks.pop(key), run_alone)
        assert found is not None
        merger.add(found[0][0], found[1])
    whole, refs = merger.graph()
    plan = Plan(whole, backends.get("numpy"))
    seconds, workers = [cost.seconds() for cost in step_costs(plan)], cores()
    schedule = Schedule(plan, choose_cuts(plan, seconds, [workers], LINK)[workers].tasks)
    blas = 1 if decide(plan).one_thread else None
    name = f"{whole.content_hash()}-{hashlib.blake2b(repr(refs).encode(), digest_size=8).hexdigest()}"
    keys_of = [f"gradloom.{_main_op(plan, task, seconds)}-{name}-{t}" for t, task in enumerate(schedule.tasks)]
    held = f"gradloom.plan-{name}"
    given = dict(zip(whole.inputs, refs, strict=True))
    maker = {i: t for t, own in enumerate(schedule.exports) for i in own}
    planned = Planned(plan, schedule)
    calls, needs, data = {}, {}, {}
    if plan.resources:
        calls[held] = Call(require, (), [planned])
    else:
        data[held] = planned
    for t, task in enumerate(schedule.tasks):
        own = tuple([i for i in schedule.imports[t] if i in given])
        others = [keys_of[other] for other in task.after]
        calls[keys_of[t]] = Call(run_planned, (t, blas, own), [Ref(held), *[Ref(given[i]) for i in own]], others)
        if task.resource is not None:
            needs[keys_of[t]] = amounts([task.resource])
    for key, i in zip(wanted, plan.outputs, strict=True):
        others = [keys_of[maker[i]]] if i in maker else []
        values = [] if i in maker else [plan.constants[i]]
        calls[key] = Call(select, (i,), values, others)
    return layer_graph(f"gradloom-{name}", {**tasks, **task_graph(calls), **data}, needs)


def _main_op(plan: Plan, task: Task, seconds: Sequence[float]) -> str:
    """Return the name of the op that takes most of a task's time."""
    most = max(task.steps, key=seconds.__getitem__)
    nodes, out = plan.graph.nodes, plan.steps[most].out
    return nodes[out][0].name if out < len(nodes) else "copy"


class Planned:
    """A plan and its schedule, as data."""

    def __init__(self, plan: Plan, schedule: Schedule) -> None:
        self.plan = plan
        self.schedule = schedule
        #: For `gradloom_dask.place.require`: each task needs one resource at most.
        self.graph = plan.graph
        self.needs = [frozenset([place]) for place in plan.resources]

    def __reduce__(self) -> tuple[Any, ...]:
        return _planned, (self.plan, self.schedule.tasks)


def _planned(plan: Plan, tasks: Any) -> Planned:
    return Planned(plan, Schedule(plan, tasks))


def run_planned(
    t: int, blas: int | None, inputs: tuple[int, ...], values: Sequence[Any], others: Sequence[Result]
) -> Result:
    """Run a task of the plan that is the first of the values."""
    planned, *rest = values
    resource = planned.schedule.tasks[t].resource
    require_here(planned.graph, [] if resource is None else [resource])
    return run_loaded(planned.plan, planned.schedule, t, blas, inputs, rest, others)


def select(i: int, values: Sequence[Any], others: Sequence[Result]) -> Any:
    """Return one value of a task, or raise what went wrong before it."""
    if values:
        return values[0]
    failures = Failures()
    for other in others:
        if other.step is not None:
            failures.add(other.step, other.error)
    if failures.error is not None:
        raise failures.error
    return unpack(others[0].values[i])


class _Threads:
    """The scheduler of lazy tensors unless the user has chosen one of dask's: threads, or where the values are."""

    def __call__(self, graph: Any, keys: Any, **options: Any) -> Any:
        if "distributed" in sys.modules:
            graph = graph.__dask_graph__() if hasattr(graph, "__dask_graph__") else graph
            for task in graph.values():
                value = getattr(task, "value", task)
                if hasattr(value, "client"):
                    return value.client.get(graph, keys, **options)
        return dask.threaded.get(graph, keys, **options)


class _Workers(_Threads):
    """The same where gradloom's scheduler has workers: what is persisted goes there."""

    def persist(self, collections: Sequence[Any], **options: Any) -> list[Any]:
        """Return lazy tensors whose values are on the workers, or will be."""
        workers = chosen_workers()
        assert workers is not None
        return persist_there(workers, collections)


_THREADS, _WORKERS_TOO = _Threads(), _Workers()


def scheduler() -> Any:
    """Return what computes lazy tensors, and persists them, unless the user has chosen a scheduler of dask's."""
    return _THREADS if chosen_workers() is None else _WORKERS_TOO


def compute(collection: Any, **options: Any) -> Any:
    """Compute one collection."""
    return dask.compute(collection, **options)[0]


def persist(collection: Any, **options: Any) -> Any:
    """Compute one collection and keep the result where it was made."""
    return dask.persist(collection, **options)[0]


def visualize(collection: Any, **options: Any) -> Any:
    """Draw the tasks of a collection."""
    return dask.visualize(collection, **options)


class _Merger:
    """Several graphs as one, in which equal nodes are one node."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._specs: list[Any] = []
        self._sources: list[Any] = []
        self._literals: list[Any] = []
        self._known: dict[Any, int] = {}
        self._inputs: dict[str, int] = {}
        self._outputs: list[int] = []

    def add(self, graph: Graph, refs: Sequence[str]) -> None:
        """Add a graph whose inputs stand for the data of some keys."""
        ids: list[int] = []
        given = dict(zip(graph.inputs, refs, strict=True))
        for i, (op, inputs, attrs) in enumerate(graph.nodes):
            key: Any
            if op is INPUT:
                key = "input", given.get(i, i)
            elif op is LITERAL:
                key = "literal", attrs[0], literal_key(graph.literals[attrs[1]])
            else:
                key = op.name, tuple([ids[j] for j in inputs]), attrs
            found = self._known.get(key)
            if found is None:
                found = self._known[key] = len(self._nodes)
                self._append(graph, i, ids, given)
            ids.append(found)
        self._outputs += [ids[i] for i in graph.outputs]

    def _append(self, graph: Graph, i: int, ids: list[int], given: Mapping[int, str]) -> None:
        op, inputs, attrs = graph.nodes[i]
        if op is INPUT:
            self._inputs[given[i]] = len(self._nodes)
        elif op is LITERAL:
            self._literals.append(graph.literals[attrs[1]])
            attrs = attrs[0], len(self._literals) - 1
        source = graph.sources[i]
        if source is not None and source[2] >= 0:
            # Where what a node is the gradient of is in another graph, the node stands for itself.
            source = source[0], source[1], ids[source[2]] if source[2] < len(ids) else len(self._nodes)
        self._nodes.append((op, tuple([ids[j] for j in inputs]), attrs))
        self._specs.append(graph.specs[i])
        self._sources.append(source)

    def graph(self) -> tuple[Graph, list[str]]:
        """Return the graph of all, and the keys of its inputs."""
        inputs = tuple(self._inputs.values())
        whole = Graph(
            tuple(self._nodes),
            tuple(self._specs),
            inputs,
            tuple(self._outputs),
            tuple(self._literals),
            tuple(self._sources),
        )
        return whole, list(self._inputs)


_IDENTITY = Graph((), (), (), ())
