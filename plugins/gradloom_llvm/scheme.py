"""Scheme: how statements run: which are tiles of products, which arrays are turned, and where values are kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, final

from gradloom_llvm.phases import find_phases
from gradloom_llvm.statements import PRODUCTS, Labels, Place, Statement, Tile, Turn, Value

if TYPE_CHECKING:
    from gradloom_llvm.lowering import Lowered


@final
class Rows:
    """Statements of which some run along rows.

    Parameters
    ----------
    lowered : Lowered
    row : int or None
        The label of the rows.
    """

    def __init__(self, lowered: Lowered, row: int | None) -> None:
        self.inputs, self.outputs, self.strided = lowered.inputs, lowered.outputs, lowered.strided
        self.values, self.statements = lowered.values, lowered.statements
        self.row = row
        tiles = {s.id: self._tile(s) for s in self.statements if s.op is not None and s.op.name in PRODUCTS}
        #: How the products of matrices along the rows run.
        self.tiles = {i: tile for i, tile in tiles.items() if tile is not None}
        if self.tiles:
            self._put_rows_last(lowered.free)
        #: Id from which on those of copies are free.
        self.free = lowered.free + lowered.size
        ids = sorted(self.values, key=lambda i: i not in self.outputs)  # of equals an output: it is stored in order
        #: The labels of values, those of one form once.
        self.forms = list(dict.fromkeys([self.values[i].labels for i in ids]))
        self._schemes: dict[Any, Scheme] = {}

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

    def _put_rows_last(self, free: int) -> None:
        """Let rows stand side by side in memory, so that vectors run along them.

        That is how values inside are kept; inputs that are read more than once are copied.
        """
        row = self.row
        values = dict(self.values)
        copies: dict[int, Statement] = {}
        for s in self.statements:
            for j in s.inputs:
                labels = values[j].labels if j in values else ()
                if j in self.inputs and row in labels[:-1] and s.loop > frozenset(labels) and j not in copies:
                    copies[j] = Statement(free + j, None, (j,), (), frozenset(labels), None)
                    values[free + j] = values[j]
        new = [s.reading(copies) for s in self.statements]
        self.statements = [*copies.values(), *new]
        for i, value in values.items():
            if i not in self.inputs and i not in self.outputs:
                values[i] = Value(value.dtype, tuple(sorted(value.labels, key=lambda label: label == row)))
        self.values = values

    def scheme(self, order: Iterable[int], long: frozenset[int]) -> Scheme:
        """Return how the statements run, given the order of all labels, outermost first, and those that are long."""
        key = tuple(order), long
        found = self._schemes.get(key)
        if found is None:
            found = self._schemes[key] = Scheme(self, *key)
        return found


@final
class Scheme:
    """How statements run.

    Parameters
    ----------
    rows : Rows
    order : tuple of int
        All labels, outermost first.
    long : frozenset of int
        Those along which arrays are turned rather than read across.
    """

    def __init__(self, rows: Rows, order: Labels, long: frozenset[int]) -> None:
        self.inputs, self.outputs, self.row, self.tiles = rows.inputs, rows.outputs, rows.row, rows.tiles
        self.strided = rows.strided
        self.values = dict(rows.values)
        self.statements = rows.statements
        self._rank = {label: k for k, label in enumerate(order)}
        self._long = long
        self.turns = self._turns(rows.free)
        self.phases = find_phases(self)
        self.places = self._places()
        #: Values that lie in the array of an output, which is written where they are read last.
        self.overwritten = self._in_outputs()
        #: What is reduced over the rows.
        self.row_sums = frozenset(
            [s.id for s in self.statements if s.combine and self.row in s.loop - set(self.values[s.id].labels)]
        )
        #: The code of this, by what else it depends on; see `gradloom_llvm.codegen`.
        self.codes: dict[Any, Any] = {}

    def ordered(self, labels: Iterable[int]) -> Labels:
        """Return labels outermost first."""
        return tuple(sorted(labels, key=self._rank.__getitem__))

    # -- arrays that are turned ------------------------------------------------------------

    def _turns(self, first: int) -> dict[int, Turn]:
        """Return how copies across the rows run; what else would read an input so reads such a copy of it."""
        turns: dict[int, Turn] = {}
        copies: dict[int, Statement] = {}
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
            *[s.reading(copies) if s.op else s for s in self.statements],
        ]
        return turns

    def _turn(self, i: int, loop: frozenset[int]) -> Turn | None:
        """Return how to turn an input for a loop, if that would read it across its rows."""
        labels = self.values[i].labels if i in self.inputs else ()
        read, written = labels[-1:], self.ordered(loop)[-1:]
        if read == written or not {*written} <= {*labels} or (i, labels[-1]) in self.strided:
            return None
        return Turn(*read, *written) if self._long.issuperset(read + written) else None

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
                        fits = self.places.get(j) == "workspace" and self.values[j].has_form_of(self.values[s.id])
                        if fits and last[j] == (t, k) and j not in found and s.id not in found.values():
                            found[j] = s.id
        return found

    @staticmethod
    def _keep(places: dict[int, Place], i: int, in_block: bool) -> None:
        if not in_block:
            places[i] = "workspace"
        elif places[i] == "register":
            places[i] = "block"
