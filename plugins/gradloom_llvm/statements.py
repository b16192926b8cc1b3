"""Statements, nests and phases: what loops are made of.

Named tuples would read better, but take Python ten times as long to make when this is imported: in the first call.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, final

import numpy as np

from gradloom.axes import Combine
from gradloom.op import Op
from gradloom.symbolic import Symbolic

DType = np.dtype[Any]
Labels = tuple[int, ...]

#: The ops that multiply matrices.
PRODUCTS = frozenset({"matmul", "annihilating_matmul"})
#: The ops that read at places, or add to them.
INDEXING = frozenset({"gather", "index_add"})


@final
class Statement:
    """One value to compute for every point of a loop, or to reduce over it."""

    __slots__ = ("attrs", "combine", "id", "inputs", "loop", "op")

    def __init__(
        self,
        id: int,
        op: Op | None,
        inputs: tuple[int, ...],
        attrs: tuple[Any, ...],
        loop: frozenset[int],
        combine: Combine | None,
    ) -> None:
        self.id = id
        #: None: a copy.
        self.op = op
        self.inputs = inputs
        self.attrs = attrs
        self.loop = loop
        #: Of a reduction.
        self.combine = combine

    def reading(self, copies: Mapping[int, Statement]) -> Statement:
        """Return the statement that reads copies of some of its inputs."""
        inputs = tuple([copies[j].id if j in copies else j for j in self.inputs])
        return Statement(self.id, self.op, inputs, self.attrs, self.loop, self.combine)

    def within(self, loop: frozenset[int]) -> Statement:
        """Return the statement in another loop."""
        return Statement(self.id, self.op, self.inputs, self.attrs, loop, self.combine)


@final
class Value:
    """What the loops read or write: its dtype, and its labels in the order of its axes."""

    __slots__ = ("dtype", "labels")

    def __init__(self, dtype: DType, labels: Labels) -> None:
        self.dtype = dtype
        self.labels = labels

    def has_form_of(self, other: Value) -> bool:
        """Return whether one array can take the place of the other."""
        return self.dtype == other.dtype and self.labels == other.labels


@final
class Tile:
    """How a product of matrices along the rows runs: tiles of its result are summed in registers.

    Either the rows are those of the result; then ``first`` is an axis of the factor at position ``left``
    and of the result, and ``second`` is summed over. Or the rows are summed over; then the two are the
    axes of the result, ``second`` that of the other factor.
    """

    __slots__ = ("first", "left", "over_rows", "second")

    def __init__(self, left: int, first: int, second: int, over_rows: bool) -> None:
        self.left = left
        self.first = first
        self.second = second
        self.over_rows = over_rows


@final
class Turn:
    """How a copy runs that reads along one label and writes along another: squares are turned in registers."""

    __slots__ = ("read", "written")

    def __init__(self, read: int, written: int) -> None:
        self.read = read
        self.written = written


def is_written(literal: Any) -> bool:
    """Return whether a literal stands in the code itself; others, such as 1 / n, are numbers that it reads."""
    if type(literal) is Symbolic:  # those are settled in `gradloom_llvm.loops`
        return False
    return not np.isfinite(literal) or abs(literal) in (0, 0.5, 1, 2, 3, 4)


@final
class Nest:
    """Statements that share a loop."""

    __slots__ = ("labels", "loop", "statements", "tile")

    def __init__(self, loop: frozenset[int], labels: Labels, tile: Tile | Turn | None) -> None:
        self.loop = loop
        #: Of a nest that is one product of matrices, or one copy across the rows.
        self.tile = tile
        #: The loop's labels, outermost first.
        self.labels = labels
        self.statements: list[Statement] = []


@final
class Phase:
    """Nests that run one after the other, for each block of rows or once."""

    __slots__ = ("nests", "row")

    def __init__(self, row: bool) -> None:
        self.row = row
        self.nests: list[Nest] = []


#: Where a value is kept: in an argument, an output array, the workspace, one block of rows, a
#: register, or, of what is reduced over rows, in partial results that end in one of these.
Place = Literal["input", "output", "workspace", "block", "register"]
