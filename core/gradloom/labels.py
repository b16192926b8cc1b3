"""Labels: which axes of a graph's values run together, by the axis rules of the ops.

Two axes have the same label where every op between them keeps them apart from all others: the
samples of a loss have one label from the data to the last sum. Partition, split and compilers
see from the labels what shares a loop.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.axes import Axes, known_axes
from gradloom.graph import INPUT, ITEM, LITERAL, Graph
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
        for n in spec.shape:
            labels.append(None if n == 1 else len(self._parents))
            if n != 1:
                self._parents.append(len(self._parents))
        return tuple(labels)

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
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        spec = graph.specs[i]
        if type(spec) is tuple:
            labels.append(())
        elif op is INPUT or op is LITERAL or op is ITEM or (through is not None and not through[i]):
            labels.append(groups.fresh(spec))
        elif not spec.shape and not any([labels[j] for j in inputs]):
            labels.append(())
        else:
            axes = known_axes(op, tuple([graph.specs[j] for j in inputs]), attrs)
            labels.append(_output_labels(groups, axes, [labels[j] for j in inputs], spec))
    find = groups.find
    return [tuple([None if a is None else find(a) for a in own]) for own in labels]


def _output_labels(groups: AxisGroups, axes: Axes | None, inputs: list[AxisLabels], spec: Spec) -> AxisLabels:
    """Return the labels of an op's output, after joining those of its inputs that run together."""
    if axes is None:
        return groups.fresh(spec)
    joined: dict[Any, int] = {}
    for own, names in zip(inputs, axes.inputs, strict=True):
        for label, name in zip(own, names, strict=True):
            if label is not None and name is not None:
                joined[name] = groups.join(joined[name], label) if name in joined else groups.find(label)
    fresh = groups.fresh(spec)
    return tuple(
        [None if n == 1 else joined.get(name, new) for n, name, new in zip(spec.shape, axes.output, fresh, strict=True)]
    )
