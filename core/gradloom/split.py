"""Split: cut an axis that runs through a graph into blocks, and combine what the blocks give.

The samples of a loss run from the data through every layer and end in sums. Such an axis can be
cut: a graph computes one block of it, sums (products, maxima) of the blocks are combined in a tree, and a
last graph does the rest, once. One pass serves chunked data, clusters and caches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

from gradloom.axes import Combine, known_axes
from gradloom.errors import GradloomError
from gradloom.graph import INPUT, Graph, live_nodes
from gradloom.labels import AxisLabels, label_axes
from gradloom.op import Op
from gradloom.spec import Spec

#: The op (and NumPy function) that combines two partial results.
COMBINE: Mapping[Combine, str] = {
    "add": "add",
    "multiply": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}


@final
@dataclass(frozen=True)
class Pass:
    """One pass over the blocks.

    Attributes
    ----------
    partials : tuple of Combine
        How the first outputs of its blocks combine over all blocks.
    joined : tuple of int
        The axes along which the other outputs of its blocks are concatenated.
    before : Graph or None
        From the graph's inputs that are not cut, followed by the combined partials of the passes
        before, to what the blocks need of them; None if that is nothing.
    """

    partials: tuple[Combine, ...]
    joined: tuple[int, ...]
    before: Graph | None
    _graph: Graph
    _axes: tuple[int | None, ...]
    _outputs: tuple[int, ...]
    _known: tuple[int, ...]

    def block(self, size: int) -> Graph:
        """Return the graph of a block of some length: inputs of the whole graph, then what ``before`` gives."""
        return _block_graph(self._graph, self._axes, self._outputs, self._known, size)


@final
@dataclass(frozen=True)
class Split:
    """A graph as passes over blocks along an axis, and what comes after.

    Attributes
    ----------
    graph : Graph
        The whole.
    cut : tuple of (int or None)
        For each input of the graph, the axis to cut; None where blocks take the whole.
    passes : tuple of Pass
        One, unless something along the axis needs a sum over all of it.
    after : Graph
        From the graph's inputs that are not cut, followed by the combined partials of all passes, to the
        outputs that are not concatenated.
    outputs : tuple of (str, int, int)
        Where each output of the graph comes from: ``("joined", pass, k)`` or ``("after", 0, k)``.
    """

    graph: Graph
    cut: tuple[int | None, ...]
    passes: tuple[Pass, ...]
    after: Graph
    outputs: tuple[tuple[str, int, int], ...]


class SplitError(GradloomError, ValueError):
    """An axis runs through something that needs it whole."""


def split(graph: Graph, seeds: Mapping[int, int]) -> Split:
    """Cut a graph along an axis.

    Parameters
    ----------
    graph : Graph
    seeds : mapping
        By position of an input, an axis of it. All must run together.

    Raises
    ------
    SplitError
        If an op needs the axis whole, or needs what is known only after all blocks.
    """
    labels = label_axes(graph)
    chosen = {labels[graph.inputs[n]][axis] for n, axis in seeds.items()}
    if len(chosen) != 1 or None in chosen:
        raise SplitError("the axes do not run together", op="split", expected="axes of one label", got=dict(seeds))
    return _Splitter(graph, labels, chosen.pop()).split()


class _Splitter:
    def __init__(self, graph: Graph, labels: Sequence[AxisLabels], label: int | None) -> None:
        self.graph = graph
        live = live_nodes(graph.nodes, graph.outputs)
        self.live = live
        #: The cut axis of each node, None where there is none.
        self.axes: list[int | None] = [self._position(i, own, label) for i, own in enumerate(labels)]
        #: How many passes over the blocks must have ended before a node can be computed.
        self.stages = [0] * len(graph.nodes)
        #: How the blocks' values of a node combine.
        self.combines: dict[int, Combine] = {}
        for i in range(len(graph.nodes)):
            if live[i]:
                self._visit(i)

    def _position(self, i: int, labels: AxisLabels, label: int | None) -> int | None:
        found = [k for k, own in enumerate(labels) if own == label]
        if len(found) > 1 and self.live[i]:
            raise _refusal(self.graph, i, "has the axis twice")
        return found[0] if found else None

    def _visit(self, i: int) -> None:
        op, inputs, attrs = self.graph.nodes[i]
        self.stages[i] = max([self.stages[j] + (j in self.combines) for j in inputs], default=0)
        cut = [j for j in inputs if self.axes[j] is not None]
        if self.axes[i] is None and cut:
            self.combines[i] = self._combine(i, op, inputs, attrs)
        elif cut and not (op.elementwise and op.axes is None and len(cut) == len(inputs)):
            self._check_inputs(i)

    def _check_inputs(self, i: int) -> None:
        """Raise where a cut axis is needed whole, or would meet an axis of a value that is not cut.

        That both ends of a cumulative sum carry the label of the cut axis (`x * np.cumsum(x)`) does not mean that it
        can be cut.
        """
        axes = self._rule(i)
        out = axes.output[self.axes[i]]
        for j, labels in zip(self.graph.nodes[i][1], axes.inputs, strict=True):
            own = self.axes[j]
            if own is not None and (out is None or labels[own] != out):
                raise _refusal(self.graph, i, "needs the axis whole")
            if own is None and out is not None and out in labels:
                raise _refusal(self.graph, i, "meets the axis with another")

    def _combine(self, i: int, op: Op, inputs: tuple[int, ...], attrs: tuple[Any, ...]) -> Combine:
        axes = self._rule(i)
        own = set()
        for j, labels in zip(inputs, axes.inputs, strict=True):
            if self.axes[j] is not None:
                own.add(labels[self.axes[j]])
        if len(own) != 1 or None in own or own & set(axes.output):
            raise _refusal(self.graph, i, "needs the axis whole")
        for j, labels in zip(inputs, axes.inputs, strict=True):
            if self.axes[j] is None and own & set(labels):
                raise _refusal(self.graph, i, "meets the axis with another")
        combine: Combine = axes.combine
        return combine

    def _rule(self, i: int) -> Any:
        op, inputs, attrs = self.graph.nodes[i]
        specs = tuple([self.graph.specs[j] for j in inputs])
        axes = None if any([type(s) is tuple for s in specs]) else known_axes(op, specs, attrs)
        if axes is None:
            raise _refusal(self.graph, i, "has no axis rule")
        return axes

    def split(self) -> Split:
        """Return the split graph."""
        graph = self.graph
        cut = tuple([self.axes[i] for i in graph.inputs])
        kept = self._kept_partials()
        joined = [i for i in dict.fromkeys(graph.outputs) if self.axes[i] is not None]
        count = 1 + max([self.stages[i] for i in (*kept, *joined)], default=0)
        passes: list[Pass] = []
        partials: list[int] = []
        pieces = []
        for p in range(count):
            own = [i for i in kept if self.stages[i] == p]
            pieces.append([i for i in joined if self.stages[i] == p])
            known = self._known_before((*own, *pieces[p]))
            before = _whole_graph(graph, partials, known, cut) if known else None
            kinds = tuple([self.combines[i] for i in own])
            along = tuple([k for i in pieces[p] if (k := self.axes[i]) is not None])
            outputs = (*own, *pieces[p])
            passes.append(Pass(kinds, along, before, graph, tuple(self.axes), outputs, tuple(known)))
            partials += own
        rest = [i for i in graph.outputs if self.axes[i] is None]
        places: list[tuple[str, int, int]] = []
        for i in graph.outputs:
            p = self.stages[i]
            if self.axes[i] is not None:
                places.append(("joined", p, pieces[p].index(i)))
            else:
                places.append(("after", 0, sum([place[0] == "after" for place in places])))
        return Split(graph, cut, tuple(passes), _whole_graph(graph, partials, rest, cut), tuple(places))

    def _kept_partials(self) -> list[int]:
        """Return the partial nodes that something outside the blocks needs, or a later pass."""
        kept = [i for i in self.graph.outputs if i in self.combines]
        for i, (_, inputs, _) in enumerate(self.graph.nodes):
            if self.live[i]:
                kept += [j for j in inputs if j in self.combines]
        return sorted(set(kept))

    def _known_before(self, outputs: tuple[int, ...]) -> list[int]:
        """Return the values that blocks need of earlier passes: not cut, and next to something cut."""
        nodes = self.graph.nodes
        found = set()
        seen = set(outputs)
        stack = list(outputs)
        while stack:
            for j in nodes[stack.pop()][1]:
                if self.axes[j] is None and (j in self.combines or self.stages[j]):
                    found.add(j)
                elif j not in seen:
                    seen.add(j)
                    stack.append(j)
        return sorted(found)


def _refusal(graph: Graph, i: int, why: str) -> SplitError:
    source = graph.source(i)
    return SplitError(
        f"the data cannot be cut into blocks: the op {why}",
        op=graph.nodes[i][0].name,
        location=None if source is None else str(source),
        remedy="compute on arrays that fit into memory, or let only sums, maxima and products run over the axis",
    )


def _whole_graph(graph: Graph, partials: list[int], outputs: list[int], cut: Sequence[int | None]) -> Graph:
    """Return what is computed once, from inputs that are not cut and combined partials."""
    nodes = list(graph.nodes)
    for i in partials:
        nodes[i] = (INPUT, (), (graph.specs[i],))
    whole = [i for i, axis in zip(graph.inputs, cut, strict=True) if axis is None]
    return Graph(tuple(nodes), graph.specs, (*whole, *partials), tuple(outputs), graph.literals, graph.sources)


def _block_graph(
    graph: Graph, axes: Sequence[int | None], outputs: tuple[int, ...], known: tuple[int, ...], size: int
) -> Graph:
    """Return the graph with a length of ``size`` along the cut axes, from some known nodes up to others."""
    given = list(graph.nodes)
    for i in known:
        given[i] = (INPUT, (), (graph.specs[i],))
    live = live_nodes(given, outputs)
    for i in graph.inputs:
        live[i] = 1
    nodes: list[Any] = []
    specs: list[Any] = []
    sources: list[Any] = []
    ids: dict[int, int] = {}
    for i, (op, inputs, attrs) in enumerate(given):
        if not live[i]:
            continue
        spec, axis = graph.specs[i], axes[i]
        own = tuple([ids[j] for j in inputs])
        if axis is not None:
            attrs = _with_length(op, attrs, spec, axis, size)
        if axis is not None:
            spec = spec.with_shape((*spec.shape[:axis], size, *spec.shape[axis + 1 :]))
        if op is INPUT:
            attrs = (spec,)
        elif axis is not None and op.infer(tuple([specs[j] for j in own]), attrs)[0].strong() is not spec:
            raise _refusal(graph, i, "has the length of the axis in it")
        source = graph.sources[i]
        ids[i] = len(nodes)
        if source is not None and source[2] >= 0:
            source = source[0], source[1], ids.get(source[2], ids[i])
        nodes.append((op, own, attrs))
        specs.append(spec)
        sources.append(source)
    return Graph(
        tuple(nodes),
        tuple(specs),
        tuple([ids[i] for i in (*graph.inputs, *known)]),
        tuple([ids[i] for i in outputs]),
        graph.literals,
        tuple(sources),
    )


def _with_length(op: Op, attrs: tuple[Any, ...], spec: Spec, axis: int, size: int) -> tuple[Any, ...]:
    """Return attrs in which the output's shape has another length along an axis."""
    changed = []
    for name, value in zip(op.attr_names, attrs, strict=True):
        if name in op.shape_attrs and value == spec.shape:
            value = (*value[:axis], size, *value[axis + 1 :])
        changed.append(value)
    return tuple(changed)
