"""Lowering: from a region to statements, which are the same for arrays of all sizes.

Sizes decide which label is that of the rows, in what order the loops run, and which arrays are turned; see
`gradloom_llvm.loops`. Regions that are equal but for sizes share what is found here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, final

from gradloom.axes import Combine, known_axes
from gradloom.graph import INPUT, LITERAL, Graph
from gradloom.recent import Recent
from gradloom_llvm.scheme import Rows
from gradloom_llvm.statements import PRODUCTS, Labels, Statement, Value

#: Ops that give another view of their input's values.
ALIASES = frozenset("broadcast_to transpose reshape positive stop_gradient".split())
REDUCTIONS = frozenset("sum prod max min any all".split())


#: For inputs with strides, by (input, label): whether elements stand side by side along it.
Steps = Mapping[tuple[int, int], bool]


def lower(region: Graph, labels: Sequence[Labels], steps: Steps | None) -> Lowered:
    """Return the statements of a region.

    Parameters
    ----------
    region : Graph
        Elementwise ops, reductions, products with a vector, and other views.
    labels : sequence
        Those of each node's axes.
    steps : mapping, optional
        For inputs with strides, by (input, label): whether elements stand side by side along it. Without it no
        input has any, and axes that always run together are one loop.
    """
    nodes = [node if node[2] and _has_no_sizes(node[0]) else node[:2] for node in region.nodes]
    own_steps = None if steps is None else tuple(steps.items())
    key = tuple(nodes), tuple([s.dtype for s in region.specs]), tuple(labels), region.inputs, region.outputs, own_steps
    return _LOWERED.get(key, lambda: Lowered(region, labels, steps))


_LOWERED: Recent[Lowered] = Recent(most=512)


def _has_no_sizes(op: Any) -> bool:
    """Return whether the attrs of an op say what it does; those of others say only how long axes are."""
    return op is not INPUT and op is not LITERAL and op.name not in ALIASES


@final
class Lowered:
    """The statements of a region; the parameters are those of `lower`."""

    def __init__(self, region: Graph, labels: Sequence[Labels], steps: Steps | None) -> None:
        self.inputs = region.inputs
        self.values: dict[int, Value] = {}
        self.literals: list[int] = []
        #: For labels that are merged with others, which one stands for them.
        self.heads: dict[int, int] = {}
        self._base: dict[int, int] = {}
        self.statements = self._statements(region, labels, steps or {})
        self.outputs = self._outputs(region, labels)
        if steps is None:
            self._merge_labels()
        #: How many statements run in each loop.
        self.loops = list(Counter([s.loop for s in self.statements]).items())
        #: The first labels of outputs.
        self.outermost = frozenset([label for i in self.outputs for label in self.values[i].labels[:1]])
        inner = [(i, self.values[i].labels[-1]) for i in self.inputs if self.values[i].labels]
        #: The inputs whose innermost label does not step from element to element, with that label.
        self.strided = frozenset([key for key in inner if steps and not steps.get(key, True)])
        #: How many nodes there are, and from which id on those of copies are free.
        self.size = len(region.nodes)
        self.free = self.size + len(region.outputs)
        self._by_row: dict[int | None, Rows] = {}

    def _statements(self, region: Graph, labels: Sequence[Labels], steps: Steps) -> list[Statement]:
        statements = []
        for i, (op, inputs, attrs) in enumerate(region.nodes):
            if op is LITERAL:
                self.literals.append(i)
            elif op is INPUT:
                # As it lies in memory: the elements of the last label stand side by side, if those of one do.
                own = sorted(labels[i], key=lambda label: steps.get((i, label), False))
                self.values[i] = Value(region.specs[i].dtype, tuple(own))
            elif op.name in ALIASES:
                self._base[i] = self.base(inputs[0])
            else:
                loop = frozenset(labels[i]).union(*[labels[j] for j in inputs])
                self.values[i] = Value(region.specs[i].dtype, labels[i])
                bases = tuple([self.base(j) for j in inputs])
                statements.append(Statement(i, op, bases, attrs, loop, _combine(region, labels, i)))
        return statements

    def base(self, i: int) -> int:
        """Return the value that a node is another view of, or the node itself."""
        return self._base.get(i, i)

    def _outputs(self, region: Graph, labels: Sequence[Labels]) -> list[int]:
        """Return the values of the outputs; other views and inputs are copied."""
        outputs = []
        computed = {s.id for s in self.statements}
        for k, i in enumerate(region.outputs):
            if i in computed and i not in outputs:
                outputs.append(i)
                continue
            copy = len(region.nodes) + k
            self.values[copy] = Value(region.specs[i].dtype, labels[i])
            self.statements.append(Statement(copy, None, (self.base(i),), (), frozenset(labels[i]), None))
            outputs.append(copy)
        return outputs

    def _merge_labels(self) -> None:
        """Make one label of each run of labels that stand side by side wherever they stand."""
        after: dict[int, int | None] = {}
        before: dict[int, int | None] = {}
        for labels in {value.labels: None for value in self.values.values()}:
            for k, label in enumerate(labels):
                right = labels[k + 1] if k + 1 < len(labels) else None
                left = labels[k - 1] if k else None
                if after.setdefault(label, right) != right:
                    after[label] = None
                if before.setdefault(label, left) != left:
                    before[label] = None
        merged: dict[int, int] = {}
        for label, right in after.items():
            if right is not None and before.get(right) == label:
                merged[right] = label
        if not merged:
            return
        for label in merged:
            head = label
            while head in merged:
                head = merged[head]
            self.heads[label] = head
        gone = frozenset(self.heads)
        self.values = {i: Value(v.dtype, tuple([a for a in v.labels if a not in gone])) for i, v in self.values.items()}
        self.statements = [s.within(s.loop - gone) for s in self.statements]

    def with_rows(self, row: int | None) -> Rows:
        """Return the statements with a label chosen for the rows."""
        found = self._by_row.get(row)
        if found is None:
            found = self._by_row[row] = Rows(self, row)
        return found


def _combine(region: Graph, labels: Sequence[Labels], i: int) -> Combine | None:
    op, inputs, attrs = region.nodes[i]
    if op.name in PRODUCTS and {*labels[i]} >= {label for j in inputs for label in labels[j]}:
        return None  # a column times a row
    if op.name in REDUCTIONS or op.name in PRODUCTS:
        axes = known_axes(op, tuple([region.specs[j] for j in inputs]), attrs)
        return None if axes is None else axes.combine
    return None
