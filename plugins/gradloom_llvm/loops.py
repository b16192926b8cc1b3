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

from gradloom.graph import Graph
from gradloom.labels import label_axes
from gradloom.symbolic import compute, settled
from gradloom_llvm.lowering import lower
from gradloom_llvm.statements import PRODUCTS, DType, Labels, is_written

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
    """The loops of a region, for arrays of its sizes.

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
        #: How long the loop of each label is.
        self.lengths: dict[int, int] = {}
        labels = self._node_labels()
        #: Elements from one to the next of the inputs that have strides, by (value, label).
        self.steps = self._steps(labels, strides or ())
        side_by_side = {key: step == 1 for key, step in self.steps.items()}
        lowered = lower(region, labels, None if strides is None else side_by_side)
        for label, head in lowered.heads.items():
            self.lengths[head] *= self.lengths[label]
        self.literals: dict[int, tuple[Any, DType]] = {
            i: (settled(region.literals[region.nodes[i][2][1]], is_written), region.specs[i].dtype)
            for i in lowered.literals
        }
        self.outputs, self.strided = lowered.outputs, lowered.strided
        self.row = self._row_label(lowered.loops, lowered.outermost)
        rows = lowered.with_rows(self.row)
        self.tiles = rows.tiles
        long = frozenset([label for label, n in self.lengths.items() if n >= TURNED])
        #: How the statements run, which other sizes share.
        self.scheme = rows.scheme(self._order(rows.forms), long)
        self.values, self.statements = self.scheme.values, self.scheme.statements
        self.phases, self.places, self.overwritten = self.scheme.phases, self.scheme.places, self.scheme.overwritten

    def _node_labels(self) -> list[Labels]:
        labels: list[Labels] = []
        for own, spec in zip(label_axes(self.region), self.region.specs, strict=True):
            for n, label in zip(spec.shape, own, strict=True):
                if label is not None and label not in self.lengths:
                    self.lengths[label] = n
            labels.append(tuple([a for a in own if a is not None]))
        return labels

    def _steps(self, labels: Sequence[Labels], strides: Sequence[tuple[int, ...] | None]) -> dict[tuple[int, int], int]:
        steps = {}
        for i, own in zip(self.region.inputs, strides, strict=False):
            if own is not None:
                spec = self.region.specs[i]
                in_bytes = [step for n, step in zip(spec.shape, own, strict=True) if n != 1]
                for label, step in zip(labels[i], in_bytes, strict=True):
                    steps[i, label] = step // spec.dtype.itemsize
        return steps

    def points(self, labels: Iterable[int]) -> int:
        """Return how often a loop over labels runs."""
        return math.prod(map(self.lengths.__getitem__, labels))

    def _row_label(self, loops: Iterable[tuple[frozenset[int], int]], outermost: frozenset[int]) -> int | None:
        """Return the label under which most work stands; of equals a long one, of these an outermost of outputs."""
        work: dict[int, int] = {}
        for loop, count in loops:
            points = count * self.points(loop)
            for label in loop:
                work[label] = work.get(label, 0) + points
        many = {label: compute(min, n, MANY_ROWS) for label, n in self.lengths.items()}
        return max(work, key=lambda a: (work[a], many[a], a in outermost, -a), default=None)

    def _order(self, forms: Iterable[Labels]) -> list[int]:
        """Return the labels as on the axes of the largest values, outermost first."""
        order: list[int] = []
        for labels in sorted(forms, key=lambda own: -self.points(own) * max(len(own), 1)):
            position = 0
            for label in labels:
                if label in order:
                    position = order.index(label) + 1
                else:
                    order.insert(position, label)
                    position += 1
        # Where a broadcast value is reduced, no value has the labels that the loop runs over.
        order = [label for label in self.lengths if label not in order] + order
        if self.tiles:
            order.sort(key=lambda label: label == self.row)
        return order

    def ordered(self, labels: Iterable[int]) -> Labels:
        """Return labels outermost first."""
        return self.scheme.ordered(labels)

    def is_row_sum(self, i: int) -> bool:
        """Return whether a value is reduced over the rows."""
        return i in self.scheme.row_sums

    def tiles_pay(self) -> bool:
        """Return whether products gain more than it costs to read and write arrays across their rows."""
        products = [s for s in self.statements if s.combine and s.op and s.op.name in PRODUCTS and len(s.loop) > 2]
        read, written = [
            sum([self.points(self.values[i].labels) for i in ends if self.row in self.values[i].labels[:-1]])
            for ends in (self.region.inputs, self.outputs)
        ]
        gain = sum([self.points(s.loop) for s in products])
        return all([s.id in self.tiles for s in products]) and gain >= READ * read + WRITTEN * written
