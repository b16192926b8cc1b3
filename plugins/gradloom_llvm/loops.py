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
from gradloom_llvm.statements import PRODUCTS, DType, Labels, Nest, Phase, Place, Statement, Tile, Value, is_written

#: Ops that give another view of their input's values.
ALIASES = frozenset("broadcast_to transpose reshape positive stop_gradient".split())
REDUCTIONS = frozenset("sum prod max min any all".split())


#: What reading and writing an element across the rows costs, in multiplications that a tile saves.
READ, WRITTEN = 25, 120


@final
class Loops:
    """The loops of a region.

    Parameters
    ----------
    region : Graph
        Elementwise ops, reductions, products with a vector, and other views.
    merge : bool
        Make one loop of axes that always run together; only for arrays without gaps.
    """

    def __init__(self, region: Graph, merge: bool) -> None:
        self.region = region
        self.values: dict[int, Value] = {}
        self.literals: dict[int, tuple[Any, DType]] = {}
        #: How long the loop of each label is.
        self.lengths: dict[int, int] = {}
        self._base: dict[int, int] = {}
        self._labels = self._node_labels()
        self.statements = self._lower()
        self.outputs = self._outputs()
        if merge:
            self._merge_labels()
        self.row = self._row_label()
        self.tiles = self._tiles()
        if self.tiles:
            self._put_rows_last()
        self._rank = self._order()
        self.phases = self._phases()
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

    def _lower(self) -> list[Statement]:
        region = self.region
        statements = []
        for i, (op, inputs, attrs) in enumerate(region.nodes):
            dtype = region.specs[i].dtype
            if op is LITERAL:
                self.literals[i] = (region.literals[attrs[1]], dtype)
            elif op is INPUT:
                self.values[i] = Value(dtype, self._labels[i])
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
        """Return the label under which most work stands, of equals the longest."""
        work: dict[int, int] = {}
        for s in self.statements:
            points = self.points(s.loop)
            for label in s.loop:
                work[label] = work.get(label, 0) + points
        return max(work, key=lambda a: (work[a], self.lengths[a], -a), default=None)

    def _order(self) -> dict[int, int]:
        """Return the rank of each label: as on the axes of the largest values, outermost first."""
        order: list[int] = []
        by_size = sorted(self.values.values(), key=lambda v: -self.points(v.labels) * max(len(v.labels), 1))
        for value in by_size:
            position = 0
            for label in value.labels:
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

    # -- phases and nests ----------------------------------------------------------------

    def _phases(self) -> list[Phase]:
        """Assign each statement the earliest phase in which its inputs are known."""
        times: dict[int, int] = {}
        by_time: dict[int, list[Statement]] = {}
        for s in self.statements:
            is_row = self.row in s.loop
            time = 1 if is_row else 0
            for j in s.inputs:
                if j in times:
                    known = times[j]  # odd: a row phase
                    if known % 2 and self.row not in self.values[j].labels:
                        known += 1
                    time = max(time, known + (known % 2 != is_row))
            times[s.id] = time
            by_time.setdefault(time, []).append(s)
        last = max(by_time, default=0)
        # Sums over the rows of the last phase are combined in a single phase after it.
        if last % 2 and any([self.row not in self.values[s.id].labels for s in by_time[last]]):
            last += 1
        phases = [self._phase(t, by_time.get(t, [])) for t in range(last + 1)]
        readers: dict[int, list[int]] = {}
        for s in self.statements:
            for j in s.inputs:
                readers.setdefault(j, []).append(s.id)
        for phase in phases:
            self._sink(phase, readers)
        return phases

    def _phase(self, time: int, statements: Sequence[Statement]) -> Phase:
        phase = Phase(bool(time % 2))
        nest_of: dict[int, int] = {}
        reduced = set()
        for s in statements:
            earliest = 0
            tile = self.tiles.get(s.id)
            for j in s.inputs:
                if j in nest_of:
                    same = phase.nests[nest_of[j]].loop == s.loop and j not in reduced
                    earliest = max(earliest, nest_of[j] + (not same))
            for k in range(earliest, len(phase.nests)):
                if phase.nests[k].loop == s.loop and phase.nests[k].tile is tile is None:
                    break
            else:
                k = len(phase.nests)
                phase.nests.append(Nest(s.loop, self.ordered(s.loop), tile))
            phase.nests[k].statements.append(s)
            nest_of[s.id] = k
            if s.combine:
                reduced.add(s.id)
        return phase

    def _sink(self, phase: Phase, readers: dict[int, list[int]]) -> None:
        """Move what only one later nest reads into it, where what it is computed from is stored anyway."""
        nests = phase.nests
        nest_of = {s.id: k for k, nest in enumerate(nests) for s in nest.statements}
        reduced = {s.id for nest in nests for s in nest.statements if s.combine}

        def is_stored(j: int, k: int) -> bool:
            return j not in nest_of or j in reduced or nest_of[j] != k or any([nest_of.get(u) != k for u in readers[j]])

        for k in range(len(nests) - 1, -1, -1):
            for s in reversed(list(nests[k].statements)):
                goals = {nest_of.get(u, -1) for u in readers.get(s.id, ())}
                if s.combine or s.id in self.outputs or len(goals) != 1:
                    continue
                goal = goals.pop()
                fits = goal > k and nests[goal].loop == s.loop and nests[goal].tile is None
                if fits and all([is_stored(j, k) for j in s.inputs]):
                    nests[k].statements.remove(s)
                    nests[goal].statements.insert(0, s)
                    nest_of[s.id] = goal
        phase.nests = [nest for nest in nests if nest.statements]

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
            (self.region.inputs, tuple(self.outputs), self.row),
        )

    def is_row_sum(self, i: int) -> bool:
        """Return whether a value is reduced over the rows."""
        return i in self._row_sums
