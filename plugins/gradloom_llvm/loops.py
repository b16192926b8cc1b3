"""Loops: from a region to the loops that compute it, as data.

One label of the region, the row label, is cut into blocks. A *row phase* runs over the blocks:
for each block a sequence of *nests*, loops over the block and the other labels, so that what
one nest stores the next finds in the cache. What is reduced over the rows is known only after
the phase; a *single phase*, without rows, combines the partial results and computes what
depends on them and on no row. Phases alternate: single, row, single, row, ...
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, final

from gradloom.axes import Combine, known_axes
from gradloom.graph import INPUT, LITERAL, Graph, literal_key
from gradloom.labels import label_axes
from gradloom_llvm.phases import find_phases
from gradloom_llvm.statements import (
    PRODUCTS,
    DType,
    Labels,
    Place,
    Statement,
    Tile,
    Turn,
    Value,
    is_written,
)

#: Ops that give another view of their input's values.
ALIASES = frozenset("broadcast_to transpose reshape positive stop_gradient".split())
REDUCTIONS = frozenset("sum prod max min any all".split())

#: Bytes from element to element along each axis of each input; None for one, or all, that are C-contiguous.
Strides = Sequence[tuple[int, ...] | None] | None


#: What reading and writing an element across the rows costs, in multiplications that a tile saves.
READ, WRITTEN = 25, 120
#: Length of two axes from which on an array is turned rather than read across its rows.
TURNED = 16
#: Rows that are enough to cut into blocks and chunks. Blocks of an inner axis would be read in short pieces, far apart.
MANY_ROWS = 128


@final
class Loops:
    """The loops of a region.

    Parameters
    ----------
    region : Graph
        Elementwise ops, reductions, products with a vector, and other views.
    strides : tuple, optional
        Bytes from element to element of each input, None for one that is C-contiguous. Without it all are,
        and axes that always run together are one loop.
    """

    def __init__(self, region: Graph, strides: Strides = None) -> None:
        self.region = region
        self.values: dict[int, Value] = {}
        self.literals: dict[int, tuple[Any, DType]] = {}
        #: How long the loop of each label is.
        self.lengths: dict[int, int] = {}
        self._base: dict[int, int] = {}
        self._labels = self._node_labels()
        #: Elements from one to the next of the inputs that have strides, by (value, label).
        self.steps = self._steps(strides or ())
        self.statements = self._lower()
        self.outputs = self._outputs()
        if strides is None:
            self._merge_labels()
        self.row = self._row_label()
        self.tiles = self._tiles()
        if self.tiles:
            self._put_rows_last()
        self._rank = self._order()
        self.turns = self._turns()
        self.phases = find_phases(self)
        self.places = self._places()
        #: Values that lie in the array of an output, which is written where they are read last.
        self.overwritten = self._in_outputs()
        self._row_sums = frozenset(
            [s.id for s in self.statements if s.combine and self.row in s.loop - set(self.values[s.id].labels)]
        )

    # -- labels and statements -----------------------------------------------------------

    def _node_labels(self) -> list[Labels]:
        labels: list[Labels] = []
        for i, own in enumerate(label_axes(self.region)):
            for axis, label in enumerate(own):
                if label is not None and label not in self.lengths:
                    self.lengths[label] = self.region.specs[i].shape[axis]
            labels.append(tuple([a for a in own if a is not None]))
        return labels

    def _steps(self, strides: Sequence[tuple[int, ...] | None]) -> dict[tuple[int, int], int]:
        steps = {}
        for i, own in zip(self.region.inputs, strides, strict=False):
            if own is not None:
                spec = self.region.specs[i]
                in_bytes = [step for n, step in zip(spec.shape, own, strict=True) if n != 1]
                for label, step in zip(self._labels[i], in_bytes, strict=True):
                    steps[i, label] = step // spec.dtype.itemsize
        return steps

    def strided(self) -> frozenset[tuple[int, int]]:
        """Return the inputs whose innermost label does not step from element to element, with that label."""
        inner = [(i, self.values[i].labels[-1]) for i in self.region.inputs if self.values[i].labels]
        return frozenset([key for key in inner if self.steps.get(key, 1) != 1])

    def _lower(self) -> list[Statement]:
        region = self.region
        statements = []
        for i, (op, inputs, attrs) in enumerate(region.nodes):
            dtype = region.specs[i].dtype
            if op is LITERAL:
                self.literals[i] = (region.literals[attrs[1]], dtype)
            elif op is INPUT:
                # As it lies in memory: the elements of the last label stand side by side, if those of one do.
                labels = sorted(self._labels[i], key=lambda label: self.steps.get((i, label)) == 1)
                self.values[i] = Value(dtype, tuple(labels))
            elif op.name in ALIASES:
                self._base[i] = self.base(inputs[0])
            else:
                loop = frozenset(self._labels[i]).union(*[self._labels[j] for j in inputs])
                self.values[i] = Value(dtype, self._labels[i])
                statements.append(Statement(i, op, self._bases(inputs), attrs, loop, self._combine(i)))
        return statements

    def base(self, i: int) -> int:
        """Return the value that a node is another view of, or the node itself."""
        return self._base.get(i, i)

    def _bases(self, inputs: Iterable[int]) -> tuple[int, ...]:
        return tuple([self.base(j) for j in inputs])

    def _combine(self, i: int) -> Combine | None:
        op, inputs, attrs = self.region.nodes[i]
        if op.name in PRODUCTS and {*self._labels[i]} >= {label for j in inputs for label in self._labels[j]}:
            return None  # a column times a row
        if op.name in REDUCTIONS or op.name in PRODUCTS:
            axes = known_axes(op, tuple([self.region.specs[j] for j in inputs]), attrs)
            return None if axes is None else axes.combine
        return None

    def _outputs(self) -> list[int]:
        """Return the values of the outputs; other views and inputs are copied."""
        outputs = []
        computed = {s.id for s in self.statements}
        for k, i in enumerate(self.region.outputs):
            if i in computed and i not in outputs:
                outputs.append(i)
                continue
            copy = len(self.region.nodes) + k
            self.values[copy] = Value(self.region.specs[i].dtype, self._labels[i])
            self.statements.append(Statement(copy, None, (self.base(i),), (), frozenset(self._labels[i]), None))
            outputs.append(copy)
        return outputs

    def _merge_labels(self) -> None:
        """Make one label of each run of labels that stand side by side wherever they stand."""
        after: dict[int, int | None] = {}
        before: dict[int, int | None] = {}
        for value in self.values.values():
            for k, label in enumerate(value.labels):
                right = value.labels[k + 1] if k + 1 < len(value.labels) else None
                left = value.labels[k - 1] if k else None
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
        heads = {}
        for label in merged:
            head = label
            while head in merged:
                head = merged[head]
            heads[label] = head
        for label, head in heads.items():
            self.lengths[head] *= self.lengths[label]
        gone = frozenset(heads)
        self.values = {i: Value(v.dtype, tuple([a for a in v.labels if a not in gone])) for i, v in self.values.items()}
        self.statements = [s._replace(loop=s.loop - gone) for s in self.statements]

    # -- rows, order ---------------------------------------------------------------------

    def points(self, labels: Iterable[int]) -> int:
        """Return how often a loop over labels runs."""
        return math.prod([self.lengths[label] for label in labels])

    def _row_label(self) -> int | None:
        """Return the label under which most work stands; of equals a long one, of these an outermost of outputs."""
        work: dict[int, int] = {}
        for s in self.statements:
            points = self.points(s.loop)
            for label in s.loop:
                work[label] = work.get(label, 0) + points
        outermost = {label for i in self.outputs for label in self.values[i].labels[:1]}
        return max(work, key=lambda a: (work[a], min(self.lengths[a], MANY_ROWS), a in outermost, -a), default=None)

    def _order(self) -> dict[int, int]:
        """Return the rank of each label: as on the axes of the largest values, outermost first."""
        order: list[int] = []
        ids = sorted(self.values, key=lambda i: i not in self.outputs)  # of equals an output: it is stored in order
        ids.sort(key=lambda i: -self.points(self.values[i].labels) * max(len(self.values[i].labels), 1))
        for i in ids:
            position = 0
            for label in self.values[i].labels:
                if label in order:
                    position = order.index(label) + 1
                else:
                    order.insert(position, label)
                    position += 1
        # Where a broadcast value is reduced, no value has the labels that the loop runs over.
        order = [label for label in self.lengths if label not in order] + order
        if self.tiles:
            order.sort(key=lambda label: label == self.row)
        return {label: k for k, label in enumerate(order)}

    def ordered(self, labels: Iterable[int]) -> Labels:
        """Return labels outermost first."""
        return tuple(sorted(labels, key=self._rank.__getitem__))

    # -- products of matrices ------------------------------------------------------------

    def _tiles(self) -> dict[int, Tile]:
        """Return how the products of matrices along the rows run."""
        tiles = {s.id: self._tile(s) for s in self.statements if s.op is not None and s.op.name in PRODUCTS}
        return {i: tile for i, tile in tiles.items() if tile is not None}

    def _tile(self, s: Statement) -> Tile | None:
        if not self.values.keys() >= {*s.inputs}:
            return None  # a broadcast literal
        a, b = [frozenset(self.values[j].labels) for j in s.inputs]
        summed = s.loop - frozenset(self.values[s.id].labels)
        if len(summed) != 1:
            return None
        (over,) = summed
        left = 0 if over == self.row or self.row in b else 1
        own, others = [(a - b, b - a), (b - a, a - b)][left]
        if over == self.row and len(own) == len(others) == 1:
            return Tile(left, min(own), min(others), over_rows=True)
        if over != self.row and self.row in others and len(own) == 1:
            return Tile(left, min(own), over, over_rows=False)
        return None

    def _put_rows_last(self) -> None:
        """Let rows stand side by side in memory, so that vectors run along them.

        That is how values inside are kept; inputs that are read more than once are copied.
        """
        row = self.row
        copies: dict[int, Statement] = {}
        first = len(self.region.nodes) + len(self.region.outputs)
        for s in self.statements:
            for j in s.inputs:
                labels = self.values[j].labels if j in self.values else ()
                if j in self.region.inputs and row in labels[:-1] and s.loop > frozenset(labels) and j not in copies:
                    copies[j] = Statement(first + j, None, (j,), (), frozenset(labels), None)
                    self.values[first + j] = self.values[j]
        new = [
            s._replace(inputs=tuple([copies[j].id if j in copies else j for j in s.inputs])) for s in self.statements
        ]
        self.statements = [*copies.values(), *new]
        for i, value in self.values.items():
            if i not in self.region.inputs and i not in self.outputs:
                self.values[i] = Value(value.dtype, tuple(sorted(value.labels, key=lambda label: label == row)))

    def tiles_pay(self) -> bool:
        """Return whether products gain more than it costs to read and write arrays across their rows."""
        products = [s for s in self.statements if s.combine and s.op and s.op.name in PRODUCTS and len(s.loop) > 2]
        read, written = [
            sum([self.points(self.values[i].labels) for i in ends if self.row in self.values[i].labels[:-1]])
            for ends in (self.region.inputs, self.outputs)
        ]
        gain = sum([self.points(s.loop) for s in products])
        return all([s.id in self.tiles for s in products]) and gain >= READ * read + WRITTEN * written

    # -- arrays that are turned ------------------------------------------------------------

    def _turns(self) -> dict[int, Turn]:
        """Return how copies across the rows run; what else would read an input so reads such a copy of it."""
        turns: dict[int, Turn] = {}
        copies: dict[int, Statement] = {}
        first = len(self.region.nodes) * 2 + len(self.region.outputs)
        for s in [s for s in self.statements if s.id not in self.tiles]:
            for j in s.inputs:
                turn = self._turn(j, s.loop)
                if turn is None:
                    continue
                if s.op is None:
                    turns[s.id] = turn
                elif j not in copies:
                    labels = self.values[j].labels
                    self.values[first + j] = Value(self.values[j].dtype, self.ordered(labels))
                    copies[j] = Statement(first + j, None, (j,), (), frozenset(labels), None)
                    turns[first + j] = turn
        self.statements = [
            *copies.values(),
            *[
                s._replace(inputs=tuple([copies[j].id if j in copies else j for j in s.inputs])) if s.op else s
                for s in self.statements
            ],
        ]
        return turns

    def _turn(self, i: int, loop: frozenset[int]) -> Turn | None:
        """Return how to turn an input for a loop, if that would read it across its rows."""
        labels = self.values[i].labels if i in self.region.inputs else ()
        read, written = labels[-1:], self.ordered(loop)[-1:]
        if read == written or not {*written} <= {*labels} or self.steps.get((i, labels[-1]), 1) != 1:
            return None
        turn = Turn(*read, *written)
        return turn if min([self.lengths[label] for label in turn]) >= TURNED else None

    # -- where values are kept -------------------------------------------------------------

    def _places(self) -> dict[int, Place]:
        """Decide where each value is kept."""
        places: dict[int, Place] = dict.fromkeys(self.values, "input")
        where: dict[int, tuple[int, int]] = {}
        for t, phase in enumerate(self.phases):
            for k, nest in enumerate(phase.nests):
                for s in nest.statements:
                    where[s.id] = t, k
                    places[s.id] = "register"
        for t, phase in enumerate(self.phases):
            for k, nest in enumerate(phase.nests):
                for s in nest.statements:
                    for j in s.inputs:
                        if j in where and where[j] != (t, k):
                            self._keep(places, j, where[j][0] == t and phase.row)
                    if s.combine:
                        self._keep(places, s.id, phase.row and self.row in self.values[s.id].labels)
        for i in self.outputs:
            places[i] = "output"
        return places

    def _in_outputs(self) -> dict[int, int]:
        """Return, for values kept between phases, the output of the same form that replaces them.

        The output must be computed from the value element by element, in the last nest that reads it.
        """
        last: dict[int, tuple[int, int]] = {}
        for t, phase in enumerate(self.phases):
            for k, nest in enumerate(phase.nests):
                for s in nest.statements:
                    for j in s.inputs:
                        last[j] = t, k
        found: dict[int, int] = {}
        for t, phase in enumerate(self.phases):
            for k, nest in enumerate(phase.nests):
                for s in nest.statements:
                    if s.combine or s.id not in self.outputs or not self.values[s.id].labels:
                        continue
                    for j in s.inputs:
                        fits = self.places.get(j) == "workspace" and self.values[j] == self.values[s.id]
                        if fits and last[j] == (t, k) and j not in found and s.id not in found.values():
                            found[j] = s.id
        return found

    @staticmethod
    def _keep(places: dict[int, Place], i: int, in_block: bool) -> None:
        if not in_block:
            places[i] = "workspace"
        elif places[i] == "register":
            places[i] = "block"

    def form(self) -> Any:
        """Return what the loops are but for sizes: equal forms have equal code."""
        return (
            tuple([(i, *v) for i, v in self.values.items()]),
            tuple([(i, literal_key(v) if is_written(v) else None, d) for i, (v, d) in self.literals.items()]),
            tuple([(p.row, tuple([(n.labels, n.tile, tuple(n.statements)) for n in p.nests])) for p in self.phases]),
            tuple(self.places.items()),
            tuple(self.overwritten.items()),
            (self.region.inputs, tuple(self.outputs), self.row, self.strided()),
        )

    def is_row_sum(self, i: int) -> bool:
        """Return whether a value is reduced over the rows."""
        return i in self._row_sums
