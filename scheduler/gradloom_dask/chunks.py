"""Chunks: a graph on chunked data, as a dask graph that reads each chunk once."""

from __future__ import annotations

import mmap
import threading
import uuid
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, final

import dask.array
import numpy as np
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer

from gradloom.axes import Combine
from gradloom.blas import one_thread_each
from gradloom.graph import Graph
from gradloom.labels import label_axes
from gradloom.placement import node_places, resources_among
from gradloom.program import Program, choose_backend, prepare
from gradloom.sharing import kernel_threads
from gradloom.split import COMBINE, Split, split
from gradloom_dask.dask_graph import Call, Placed, Ref, Whole, layer_of, task_graph
from gradloom_dask.packing import unpack, writable
from gradloom_dask.place import amounts, require, require_here

#: Held while a graph is planned, so that threads that begin together wait for one plan.
_PLANNING = threading.Lock()
#: How many partial results one task of the tree combines.
FAN_IN = 8
#: Bytes of data that travel with the tasks that need it, all copies together; what is larger is a task of its own, that
#: must run and be fetched before any of those begins. And bytes of a node of a graph, roughly.
EMBEDDED = 2**22
NODE_BYTES = 200


def run_graph(graph: Graph, values: Sequence[Any]) -> list[Any]:
    """Return lazy dask arrays for the outputs of a graph.

    Parameters
    ----------
    graph : Graph
    values : sequence
        One per input: dask arrays, NumPy arrays and numbers.

    Raises
    ------
    SplitError
        If the graph needs an axis whole that has several chunks.

    Notes
    -----
    A task that has an op which needs a resource of workers runs on a worker that has it, as a whole.
    """
    chunked = {n: v for n, v in enumerate(values) if isinstance(v, dask.array.Array)}
    seeds, chunks = _chosen_axes(graph, chunked)
    # Keys begin with a word for their kind of task: dask expects of a task what others of its kind took.
    name = uuid.uuid4().hex
    if not seeds:
        whole = {n: array.rechunk(-1) for n, array in chunked.items()}
        return _one_task(name, graph, values, whole)
    found = split(graph, seeds)
    arrays = {}
    for n, array in chunked.items():
        axis = found.cut[n]
        arrays[n] = array.rechunk({k: chunks if k == axis else -1 for k in range(array.ndim)})
    return _Build(name, found, values, arrays, chunks).outputs()


def _chosen_axes(graph: Graph, chunked: dict[int, Any]) -> tuple[dict[int, int], tuple[int, ...]]:
    """Return the axes to cut, by input, and the lengths of the blocks: where most bytes have several chunks."""
    labels = label_axes(graph)
    axes: dict[Any, dict[int, int]] = {}
    for n, array in chunked.items():
        for k, label in enumerate(labels[graph.inputs[n]]):
            if len(array.chunks[k]) > 1 and label is not None:
                axes.setdefault(label, {})[n] = k
    if not axes:
        return {}, ()
    seeds = max(axes.values(), key=lambda own: sum([chunked[n].nbytes for n in own]))
    largest = max(seeds, key=lambda n: chunked[n].nbytes)
    return seeds, chunked[largest].chunks[seeds[largest]]


@final
class Computation:
    """A graph to run on arrays; as data. Each process plans it once, and compiles what is large."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def needs(self) -> list[frozenset[str]]:
        """What a worker must stand for, at most one set of places; see `gradloom_dask.place.Watch`."""
        places = resources_among(node_places(self.graph))
        return [places] if places else []

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """Return the outputs. BLAS takes one thread, so that chunks may run side by side with the same bits."""
        with _PLANNING:
            program = _program(self.graph)
            plan = program.plan_at(choose_backend(values), self.graph.sources)
        require_here(self.graph, plan.resources)
        token = kernel_threads.set(1)
        try:
            with one_thread_each():
                return plan.run(prepare(plan, values), program.lines(plan, self.graph.sources))
        finally:
            kernel_threads.reset(token)

    def __reduce__(self) -> tuple[Any, ...]:
        return Computation, (self.graph,)


@lru_cache(maxsize=128)
def _program(graph: Graph) -> Program:
    """Return the program of a graph, by its content, so that the next run finds its plans."""
    return Program(graph)


class Block(NamedTuple):
    """What a block gives: partials to be combined, and pieces to be joined."""

    partials: tuple[Any, ...]
    joined: tuple[Any, ...]


def run_block(count: int, values: Sequence[Any], others: Sequence[Any]) -> Block:
    """Run a block: the first value is its computation, and its first ``count`` outputs are partials."""
    compute, *rest = values
    known = others[0].partials if others else ()
    found = compute([unpack(value) for value in (*rest, *known)])
    for value in rest:
        release_pages(value)
    return Block(tuple(found[:count]), tuple(found[count:]))


def release_pages(array: Any) -> None:
    """Let the system take back the pages of a mapped file that a block has read, so that memory stays small.

    Only where the file is mapped read-only: there, what is read again comes from the file again.
    """
    if type(array) not in (np.ndarray, np.memmap) or array.nbytes < mmap.PAGESIZE or array.flags.writeable:
        return
    base = array
    while isinstance(base.base, np.ndarray):
        base = base.base
    mapped = base.base
    if not isinstance(mapped, mmap.mmap) or base.flags.writeable or not hasattr(mapped, "madvise"):
        return
    origin = np.frombuffer(mapped, np.uint8).ctypes.data
    low, high = np.lib.array_utils.byte_bounds(array)
    start = (low - origin) // mmap.PAGESIZE * mmap.PAGESIZE
    mapped.madvise(mmap.MADV_DONTNEED, start, high - origin - start)


def combine(kinds: tuple[Combine, ...], values: Sequence[Any], others: Sequence[Block]) -> Block:
    """Combine the partials of some blocks, in order."""
    total = [unpack(value) for value in others[0].partials]
    for other in others[1:]:
        for k, (kind, value) in enumerate(zip(kinds, other.partials, strict=True)):
            total[k] = getattr(np, COMBINE[kind])(total[k], unpack(value))
    return Block(tuple(total), ())


class Top(NamedTuple):
    """The last few tasks of a tree, which whoever needs their sum combines."""

    kinds: tuple[Combine, ...]
    keys: Sequence[str]


def finish(passes: Sequence[tuple[int, tuple[Combine, ...]]], values: Sequence[Any], others: Sequence[Block]) -> Block:
    """Combine the partials of some passes, each of so many tasks, and compute what needs them."""
    compute, *rest = values
    partials: list[Any] = []
    for count, kinds in passes:
        partials += combine(kinds, (), others[:count]).partials
        others = others[count:]
    return Block(tuple(compute([unpack(value) for value in (*rest, *partials)])), ())


def part(k: int, values: Sequence[Any], others: Sequence[Block]) -> Any:
    """Return one of the results of `finish`."""
    return writable(unpack(others[0].partials[k]))


def piece(k: int, values: Sequence[Any], others: Sequence[Block]) -> Any:
    """Return one of the pieces of a block."""
    return others[0].joined[k]


def _nbytes(value: Any) -> int:
    return int(getattr(value, "nbytes", 0))


@final
class _Tasks:
    """Tasks and data by key, and the resources that tasks need."""

    def __init__(self) -> None:
        self.data: dict[Any, Any] = {}
        self.calls: dict[Any, Call] = {}
        self.needs: dict[Any, dict[str, float]] = {}
        self._computations: dict[Ref, dict[str, float]] = {}

    def computation(self, key: str, graph: Graph, readers: int = 1) -> Any:
        """Return the computation of a graph as so many tasks take it: itself, or a key that is added."""
        found = Computation(graph)
        if not found.needs:
            return self.constant(key, found, len(graph.nodes) * NODE_BYTES, readers)
        self.calls[key] = Call(require, (), [found])
        self._computations[Ref(key)] = amounts(found.needs[0])
        return Ref(key)

    def constant(self, key: str, value: Any, nbytes: int, readers: int) -> Any:
        """Return data as so many tasks take it: itself where it is small, a key that is added otherwise."""
        if nbytes * readers <= EMBEDDED:
            return value
        self.data[key] = value
        return Ref(key)

    def add(self, key: Any, call: Call) -> None:
        """Add a task; it needs what the computation needs that is the first of its values."""
        self.calls[key] = call
        if call.values and type(call.values[0]) is Ref:
            needs = self._computations.get(call.values[0])
            if needs is not None:
                self.needs[key] = needs

    def finish(self, key: str, compute: Any, values: Sequence[Any], tops: Sequence[Top]) -> None:
        """Add a task that combines what some passes gave, and computes what needs it."""
        passes = [(len(top.keys), top.kinds) for top in tops]
        self.add(key, Call(finish, (passes,), [compute, *values], [other for top in tops for other in top.keys]))

    def layer(self) -> Any:
        """Return them as a layer of a graph."""
        return layer_of({**self.data, **task_graph(self.calls)}, self.needs)


def _one_task(name: str, graph: Graph, values: Sequence[Any], arrays: dict[int, Any]) -> list[Any]:
    """Return lazy arrays for a graph whose data is in one chunk."""
    tasks = _Tasks()
    refs = [tasks.computation(f"gradloom-graph-{name}", graph)]
    for n, value in enumerate(values):
        if n in arrays:
            refs.append(Ref((arrays[n].name, *(0,) * arrays[n].ndim)))
        else:
            refs.append(tasks.constant(f"gradloom-input-{name}-{n}", value, _nbytes(value), 1))
    tasks.finish(f"gradloom-end-{name}", refs[0], refs[1:], ())
    layer = tasks.layer()
    return [
        _array(
            name,
            layer,
            arrays,
            f"gradloom-out-{name}-{k}",
            {(): Call(part, (k,), (), [f"gradloom-end-{name}"])},
            spec,
            None,
        )
        for k, spec in enumerate(graph.output_specs())
    ]


class _Build:
    """The dask graph of a split graph."""

    def __init__(
        self, name: str, found: Split, values: Sequence[Any], arrays: dict[int, Any], chunks: tuple[int, ...]
    ) -> None:
        self.name = name
        self.split = found
        self.arrays = arrays
        self.chunks = chunks
        self.tasks = _Tasks()
        after = self.tasks.computation(f"gradloom-graph-{name}-after", found.after)
        #: Inputs that are the same for all blocks, as tasks take them.
        self._same: dict[int, Any] = {}
        readers = len(chunks) * len(found.passes)
        for n, axis in enumerate(found.cut):
            if axis is None and n in arrays:
                self._same[n] = Ref((arrays[n].name, *(0,) * arrays[n].ndim))
            elif axis is None:
                self._same[n] = self.tasks.constant(
                    f"gradloom-input-{name}-{n}", values[n], _nbytes(values[n]), readers
                )
        self._values = values
        tops: list[Top] = []
        for p in range(len(found.passes)):
            tops = [*tops, *self._pass(p, tops)]
        self.tasks.finish(f"gradloom-end-{name}", after, list(self._same.values()), tops)

    def _pass(self, p: int, tops: Sequence[Top]) -> list[Top]:
        """Add one pass over the blocks, and return the ends of its tree, if it has partials."""
        this = self.split.passes[p]
        name = f"{self.name}-{p}"
        known = []
        if this.before is not None:
            known = [f"gradloom-before-{name}"]
            before = self.tasks.computation(f"gradloom-graph-{name}-before", this.before)
            self.tasks.finish(known[0], before, list(self._same.values()), tops)
        blocks = {
            n: self.tasks.computation(f"gradloom-graph-{name}-{n}", this.block(n), self.chunks.count(n))
            for n in set(self.chunks)
        }
        start = 0
        for b, size in enumerate(self.chunks):
            refs = [self._input(n, b, slice(start, start + size)) for n in range(len(self._values))]
            count = len(this.partials)
            self.tasks.add(f"gradloom-block-{name}-{b}", Call(run_block, (count,), [blocks[size], *refs], known))
            start += size
        return [self._tree(p)] if this.partials else []

    def _input(self, n: int, b: int, rows: slice) -> Any:
        """Return an input of a block as its task takes it."""
        axis = self.split.cut[n]
        if axis is None:
            return self._same[n]
        if n in self.arrays:
            array = self.arrays[n]
            return Ref((array.name, *[b if k == axis else 0 for k in range(array.ndim)]))
        rows_of = self._values[n][(slice(None),) * axis + (rows,)]
        return self.tasks.constant(f"gradloom-input-{self.name}-{n}-{b}", rows_of, _nbytes(rows_of), 1)

    def _tree(self, p: int) -> Top:
        """Combine the partials of all blocks but for the last step; the order does not depend on what runs them."""
        keys = [f"gradloom-block-{self.name}-{p}-{b}" for b in range(len(self.chunks))]
        kinds = self.split.passes[p].partials
        level = 0
        while len(keys) > FAN_IN:
            above = []
            for n in range(0, len(keys), FAN_IN):
                above.append(f"gradloom-sum-{self.name}-{p}-{level}-{n}")
                self.tasks.add(above[-1], Call(combine, (kinds,), (), keys[n : n + FAN_IN]))
            keys = above
            level += 1
        return Top(kinds, keys)

    def outputs(self) -> list[Any]:
        """Return a lazy array for each output."""
        layer = self.tasks.layer()
        arrays = []
        calls: dict[tuple[int, ...], Call]
        for n, (place, spec) in enumerate(zip(self.split.outputs, self.split.graph.output_specs(), strict=True)):
            where, p, k = place
            name = f"gradloom-out-{self.name}-{n}"
            if where == "after":
                calls = {(): Call(part, (k,), (), [f"gradloom-end-{self.name}"])}
                arrays.append(_array(self.name, layer, self.arrays, name, calls, spec, None))
                continue
            along = self.split.passes[p].joined[k], self.chunks
            calls = {
                (b,): Call(piece, (k,), (), [f"gradloom-block-{self.name}-{p}-{b}"]) for b in range(len(self.chunks))
            }
            arrays.append(_array(self.name, layer, self.arrays, name, calls, spec, along))
        return arrays


def _array(
    base: str,
    layer: Any,
    arrays: dict[int, Any],
    name: str,
    calls: dict[tuple[int, ...], Call],
    spec: Any,
    cut: tuple[int, tuple[int, ...]] | None,
) -> Any:
    """Return a dask array whose chunks some calls make."""
    chunks: list[tuple[int, ...]] = [(n,) for n in spec.shape]
    keyed: dict[Any, Call] = {}
    for place, call in calls.items():
        index: list[Any] = [0] * spec.ndim
        if cut is not None:
            index[cut[0]] = place[0]
        keyed[(name, *index)] = call
    if cut is not None:
        chunks[cut[0]] = cut[1]
    graph = HighLevelGraph.from_collections(base, layer, dependencies=list(arrays.values()))
    layers = {**graph.layers, name: task_graph(keyed)}
    graph = HighLevelGraph(layers, {**graph.dependencies, name: {base}})
    whole = dask.array.Array if cut is not None else Whole
    kind = Placed if isinstance(layer, MaterializedLayer) else whole
    return kind(graph, name, tuple(chunks), dtype=spec.dtype)
