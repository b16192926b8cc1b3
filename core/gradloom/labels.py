"""Labels: which axes of a graph's values run together, by the axis rules of the ops.

Two axes have the same label where every op between them keeps them apart from all others: the
samples of a loss have one label from the data to the last sum. Partition, split and compilers
see from the labels what shares a loop.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gradloom.axes import Axes, known_axes
from gradloom.graph import ITEM, Graph
from gradloom.spec import Spec

#: One label per axis; None for an axis of length 1, which any loop may ignore.
AxisLabels = tuple[int | None, ...]


class AxisGroups:
    """Axes joined by the ops between them: a union-find over labels."""

    def __init__(self) -> None:
        self._parents: list[int] = []

    def fresh(self, spec: Spec) -> AxisLabels:
        """Return new labels for the axes of a value."""
        labels: list[int | None] = []
        parents = self._parents
        for n in spec.shape:
            labels.append(None if n == 1 else len(parents))
            if n != 1:
                parents.append(len(parents))
        return tuple(labels)

    def output(self, spec: Spec, axes: Axes, loops: Mapping[Any, int]) -> AxisLabels:
        """Return the labels of an op's output: those of its loops, and new ones for what no input has."""
        names = zip(spec.shape, axes.output, self.fresh(spec), strict=True)
        return tuple([None if n == 1 else loops.get(name, new) for n, name, new in names])

    def find(self, label: int) -> int:
        """Return the label that stands for all that were joined with one."""
        parents = self._parents
        while parents[label] != label:
            parents[label] = parents[parents[label]]
            label = parents[label]
        return label

    def join(self, a: int, b: int) -> int:
        """Make two labels one, the older, and return it."""
        a, b = self.find(a), self.find(b)
        if b < a:
            a, b = b, a
        self._parents[b] = a
        return a


def label_axes(graph: Graph, through: Sequence[int] | None = None) -> list[AxisLabels]:
    """Return the labels of each node's axes; of a node with several outputs, none.

    Parameters
    ----------
    graph : Graph
    through : sequence of int, optional
        Flags of the nodes that join labels; the others start new ones. All, by default.

    Notes
    -----
    Cost: linear in the number of nodes.
    """
    groups = AxisGroups()
    labels: list[AxisLabels] = []
    specs = graph.specs
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        spec = specs[i]
        if type(spec) is tuple:
            labels.append(())
        elif not inputs or op is ITEM or (through is not None and not through[i]):
            labels.append(groups.fresh(spec))
        else:
            given = [labels[j] for j in inputs]
            own = given[0]
            if not spec.shape and not any(given):
                labels.append(())
            elif op.elementwise and op.axes is None:
                alike = len(own) == spec.ndim and given.count(own) == len(given)
                labels.append(own if alike else _elementwise_labels(groups, given, spec.ndim))
            else:
                axes = known_axes(op, tuple([specs[j] for j in inputs]), attrs)
                labels.append(_output_labels(groups, axes, given, spec))
    found: dict[AxisLabels, AxisLabels] = {}
    for own in set(labels):
        found[own] = tuple([None if a is None else groups.find(a) for a in own])
    return list(map(found.__getitem__, labels))


def _elementwise_labels(groups: AxisGroups, inputs: list[AxisLabels], ndim: int) -> AxisLabels:
    """Return the labels of an elementwise op's output, after joining those of its inputs from the last axis on."""
    joined: list[int | None] = [None] * ndim
    for own in inputs:
        for axis, label in enumerate(own, ndim - len(own)):
            if label is not None:
                known = joined[axis]
                joined[axis] = label if known is None or known == label else groups.join(known, label)
    return tuple(joined)


def _output_labels(groups: AxisGroups, axes: Axes | None, inputs: list[AxisLabels], spec: Spec) -> AxisLabels:
    """Return the labels of an op's output, after joining those of its inputs that run together."""
    if axes is None:
        return groups.fresh(spec)
    joined: dict[Any, int] = {}
    for own, names in zip(inputs, axes.inputs, strict=True):
        for label, name in zip(own, names, strict=True):
            if label is not None and name is not None:
                joined[name] = groups.join(joined[name], label) if name in joined else groups.find(label)
    return groups.output(spec, axes, joined)


def crossing_nodes(graph: Graph, through: Sequence[int], views: Sequence[bool], heavy: int) -> list[int]:
    """Return nodes to part with, so that no op reads one value along two of its axes at once.

    In ``a + a.T`` and ``x[:, None] - x[None, :]`` each axis runs with another of the same value, and no two loops are
    left. Where the second view is a value of its own, its axes start new labels.

    Parameters
    ----------
    graph : Graph
    through : sequence of int
        Flags of the nodes that join labels.
    views : sequence of bool
        Flags of the nodes to part with rather than with the op that reads them, where that one is heavy.
    heavy : int
        Elements from which an op is heavy.

    Notes
    -----
    Cost: linear in the number of nodes, but for a logarithm.
    """
    crossing = _Crossing(graph, through, views, heavy)
    for i in range(len(graph.nodes)):
        crossing.label(i)
    return sorted(crossing.found)


class _Crossing:
    """Labels that never join two axes of one loop, and the nodes where they would have."""

    def __init__(self, graph: Graph, through: Sequence[int], views: Sequence[bool], heavy: int) -> None:
        self.found: set[int] = set()
        self._heavy = heavy
        self._graph = graph
        self._through = through
        self._views = views
        self._groups = AxisGroups()
        self._labels: list[AxisLabels] = []
        #: The nodes in whose loops a label runs.
        self._nodes: dict[int, set[int]] = {}
        self._searched: set[int] = set()

    def label(self, i: int) -> None:
        """Label the next node."""
        graph = self._graph
        op, inputs, attrs = graph.nodes[i]
        spec = graph.specs[i]
        own: AxisLabels = ()
        if type(spec) is not tuple:
            known = inputs and self._through[i]
            axes = known_axes(op, tuple([graph.specs[j] for j in inputs]), attrs) if known else None
            own = self._groups.fresh(spec) if axes is None else self._output(i, axes)
        for a in own:
            if a is not None:
                self._nodes.setdefault(self._groups.find(a), set()).add(i)
        self._labels.append(own)

    def _output(self, i: int, axes: Axes) -> AxisLabels:
        """Return the labels of an op's output, after joining those of the inputs that may run together."""
        inputs, spec = self._graph.nodes[i][1], self._graph.specs[i]
        loops: dict[Any, int] = {}
        # Views come last.
        for k in sorted(range(len(inputs)), key=lambda k: self._views[inputs[k]]):
            own = zip(axes.inputs[k], self._labels[inputs[k]], strict=True)
            pairs = [(name, a) for name, a in own if name is not None and a is not None]
            if self._fits(loops, pairs):
                for name, a in pairs:
                    loops[name] = self._join(loops[name], a) if name in loops else self._groups.find(a)
            elif spec.size < self._heavy or not any(map(self._part, (inputs[k], *inputs))):
                self.found.add(i)
                return self._groups.fresh(spec)
        return self._groups.output(spec, axes, loops)

    def _fits(self, loops: dict[Any, int], pairs: Sequence[tuple[Any, int]]) -> bool:
        """Return whether the axes of an input may run in the loops of an op, each in one of its own."""
        find, nodes = self._groups.find, self._nodes
        taken = {find(a): name for name, a in loops.items()}
        for name, a in pairs:
            mine, other = find(a), find(loops.get(name, a))
            if taken.setdefault(mine, name) != name:
                return False
            if mine != other and not nodes.get(mine, _NOBODY).isdisjoint(nodes.get(other, _NOBODY)):
                return False
        return True

    def _part(self, i: int) -> bool:
        """Part with a view, or with the views that a value was computed from; return whether there are any."""
        before = len(self.found)
        stack = [i]
        while stack:
            i = stack.pop()
            if self._views[i]:
                self.found.add(i)
            elif self._through[i] and i not in self._searched:
                self._searched.add(i)
                stack += self._graph.nodes[i][1]
        return len(self.found) > before

    def _join(self, a: int, b: int) -> int:
        a, b = self._groups.find(a), self._groups.find(b)
        joined = self._groups.join(a, b)
        if a != b:
            fewer, more = sorted([self._nodes.pop(a, set()), self._nodes.pop(b, set())], key=len)
            more |= fewer
            self._nodes[joined] = more
        return joined


_NOBODY: frozenset[int] = frozenset()
