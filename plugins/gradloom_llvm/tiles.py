"""Tiles: products of matrices along the rows, summed in registers.

Vectors run along the rows. Where the rows are those of the result, a tile is a few columns of it, for
some vectors of rows; each step of the sum reads those vectors of one factor and multiplies them by numbers of
the other. Where the rows are summed over, a tile is a few rows and columns of the result, and each of
its sums is a vector whose lanes are added up at the end. A tile at the edge begins again at the last
column as often as needed: it computes the same once more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np

from gradloom_llvm.combining import combine_lanes_of_each, combine_values
from gradloom_llvm.elementwise import TYPES, Body, annihilating, constant, in_every_lane
from gradloom_llvm.function import Function
from gradloom_llvm.memory import load, store
from gradloom_llvm.statements import Statement, Tile

DType = np.dtype[Any]
#: Columns of the result and vectors of rows of a tile, and its sides where the rows are summed over.
COLUMNS, VECTORS = 4, 2
SIDE = 4

#: ``terms(body, index)`` returns the two factors of each product, at one step of a sum.
Terms = Callable[[Body, str], list[tuple[str, str]]]


def emit_tiles(function: Function, s: Statement, tile: Tile, r0: str, r1: str) -> None:
    """Emit the loops of one product of matrices; ``r0``, ``r1`` bound the block of rows."""
    loops = function.loops
    index: dict[int, str] = {}
    closes = []
    for label in loops.ordered(s.loop - {loops.row, tile.first, tile.second}):
        index[label], close = function.open(*function.range(label, r0, r1), "1")
        closes.append(close)
    emitter = _Tiles(function, s, tile, index, r0, r1)
    if tile.over_rows:
        emitter.sums_over_rows()
    else:
        emitter.rows()
    for close in reversed(closes):
        close()


@final
class _Tiles:
    """The tiles of one product, at one point of the loops around it."""

    def __init__(self, function: Function, s: Statement, tile: Tile, index: dict[int, str], r0: str, r1: str) -> None:
        self.function = function
        self.s = s
        self.tile = tile
        self.index = index
        self.r0, self.r1 = r0, r1
        self.dtype = function.loops.values[s.id].dtype
        self.lanes = function.lanes([self.dtype])
        assert function.loops.row is not None
        self.row = function.loops.row
        self.left, self.right = s.inputs[tile.left], s.inputs[1 - tile.left]

    # -- the two forms -------------------------------------------------------------------------

    def rows(self) -> None:
        """Emit a product whose rows are those of the result."""
        function, tile = self.function, self.tile
        columns, close_columns = self._tile_of(tile.first, COLUMNS)
        numbers = [self._start(self.left, {tile.first: j}) for j in columns]
        step = self.lanes * VECTORS
        for start, stop, whole in self._pieces(step):
            r, close_rows = function.open(start, stop, str(step))
            positions = [function.emit(f"add i64 {r}, {v * self.lanes}") for v in range(VECTORS)]
            masks = [None if whole else self._mask(p) for p in positions]
            terms = self._row_terms(numbers, positions, masks)
            sums = self._summed([("0", function.number("size", tile.second), "1", terms)], COLUMNS * VECTORS)
            for k, total in enumerate(sums):
                column, v = divmod(k, VECTORS)
                address = self._start(self.s.id, {tile.first: columns[column], self.row: positions[v]})
                body = Body(self.lanes, "x" + function.fresh("t"))
                store(body, self.dtype, total, address, masks[v], function.stride(self.s.id, self.row))
                self._append(body)
            close_rows()
        close_columns()

    def _row_terms(self, numbers: list[str], positions: list[str], masks: list[str | None]) -> Terms:
        """Return the terms of a product along the rows: numbers of one factor, times vectors of the other."""
        label = self.tile.second
        vectors = [self._start(self.right, {self.row: p}) for p in positions]

        def terms(body: Body, i: str) -> list[tuple[str, str]]:
            rows = [self._vector(body, self.right, label, p, i, m) for p, m in zip(vectors, masks, strict=True)]
            splats = [self._splat(body, self.left, label, p, i) for p in numbers]
            return [(number, row) for number in splats for row in rows]

        return terms

    def sums_over_rows(self) -> None:
        """Emit a product that sums over the rows."""
        function, tile = self.function, self.tile
        first, close_first = self._tile_of(tile.first, SIDE)
        second, close_second = self._tile_of(tile.second, SIDE)
        lefts = [self._start(self.left, {tile.first: j, self.row: "0"}) for j in first]
        rights = [self._start(self.right, {tile.second: j, self.row: "0"}) for j in second]

        def terms_of(whole: bool) -> Terms:
            def terms(body: Body, r: str) -> list[tuple[str, str]]:
                mask = None if whole else self._mask(r)
                a = [self._vector(body, self.left, self.row, p, r, mask) for p in lefts]
                b = [self._vector(body, self.right, self.row, p, r, mask) for p in rights]
                return [(x, y) for x in a for y in b]

            return terms

        pieces = [(start, stop, str(self.lanes), terms_of(whole)) for start, stop, whole in self._pieces(self.lanes)]
        sums = self._summed(pieces, SIDE * SIDE)
        addresses = [
            function.address(self.s.id, self.index | {tile.first: j, tile.second: i}, self.r0, partial=True)
            for j in first
            for i in second
        ]
        body = Body(self.lanes, "x" + function.fresh("t"))
        one = body.narrowed(1)
        # All are read before one is written: at the edge some are the same.
        before = [load(one, self.dtype, address, None) for address in addresses]
        totals = [
            combine_values(one, "add", self.dtype, a, b)
            for a, b in zip(before, self._lanes_added(body, sums), strict=True)
        ]
        for address, total in zip(addresses, totals, strict=True):
            store(one, self.dtype, total, address, None)
        self._append(body)
        close_second()
        close_first()

    # -- parts ---------------------------------------------------------------------------------

    def _tile_of(self, label: int, count: int) -> tuple[list[str], Callable[[], None]]:
        """Open the loop over the tiles along a label; return where the tile's elements are."""
        function = self.function
        size = function.number("size", label)
        start, close = function.open("0", size, str(count))
        last = function.emit(f"sub i64 {size}, 1")
        places = [function.minimum(function.emit(f"add i64 {start}, {k}"), last) for k in range(count)]
        return places, close

    def _pieces(self, step: int) -> list[tuple[str, str, bool]]:
        """Return the rows in pieces: whole steps, then the rest under a mask; all under one where masks cost little."""
        function = self.function
        if function.masks:
            return [(self.r0, self.r1, False)]
        count = function.emit(f"sub i64 {self.r1}, {self.r0}")
        full = function.emit(f"and i64 {count}, -{step}")
        end = function.emit(f"add i64 {self.r0}, {full}")
        return [(self.r0, end, True), (end, self.r1, False)]

    def _start(self, i: int, places: dict[int, str]) -> str:
        return self.function.address(i, self.index | places, self.r0)

    def _mask(self, position: str) -> str:
        """Return which lanes of the rows from a position on are in the block."""
        function, lanes = self.function, self.lanes
        counts = in_every_lane(function.emit, "i64", lanes, function.emit(f"sub i64 {self.r1}, {position}"))
        numbers = ", ".join(f"i64 {k}" for k in range(lanes))
        return function.emit(f"icmp slt <{lanes} x i64> <{numbers}>, {counts}")

    def _at(self, body: Body, i: int, label: int, start: str, index: str) -> str:
        step = self.function.stride(i, label)
        offset = index if step == "1" else body.emit(f"mul i64 {index}, {step}")
        return body.emit(f"getelementptr {TYPES[self.dtype][1]}, ptr {start}, i64 {offset}")

    def _vector(self, body: Body, i: int, label: int, start: str, index: str, mask: str | None) -> str:
        """Load a vector of rows of a factor."""
        address = self._at(body, i, label, start, index)
        return load(body, self.dtype, address, mask, self.function.stride(i, self.row))

    def _splat(self, body: Body, i: int, label: int, start: str, index: str) -> str:
        """Load a number of a factor into every lane."""
        kind = TYPES[self.dtype][0]
        number = body.emit(f"load {kind}, ptr {self._at(body, i, label, start, index)}, align {self.dtype.itemsize}")
        return in_every_lane(body.emit, kind, self.lanes, number)

    def _append(self, body: Body) -> None:
        self.function.lines += body.lines
        self.function.declares |= body.declares

    def _lanes_added(self, body: Body, sums: list[str]) -> list[str]:
        """Return the sum of each vector's lanes, as scalars."""
        kind, count = TYPES[self.dtype][0], min(SIDE, self.lanes)
        totals = []
        for k in range(0, len(sums), count):
            together = combine_lanes_of_each(body, "add", self.dtype, sums[k : k + count])
            vector = f"<{count} x {kind}>"
            totals += [body.emit(f"extractelement {vector} {together}, i32 {n}") for n in range(count)]
        return totals

    # -- sums ----------------------------------------------------------------------------------

    def _summed(self, pieces: Sequence[tuple[str, str, str, Terms]], count: int) -> list[str]:
        """Emit loops that add up products; where a zero annihilates, once more with care if a sum is NaN."""
        fast = self._loops(pieces, count, self._add)
        op = self.s.op
        if op is None or op.name == "matmul":
            return fast
        function = self.function
        kind = f"<{self.lanes} x {TYPES[self.dtype][0]}>"
        flags = [function.emit(f"fcmp uno {kind} {total}, {total}") for total in fast]
        while len(flags) > 1:
            flags = [
                function.emit(f"or <{self.lanes} x i1> {a}, {b}") for a, b in zip(flags[::2], flags[1::2], strict=True)
            ]
        bits = function.emit(f"bitcast <{self.lanes} x i1> {flags[0]} to i{self.lanes}")
        some = function.emit(f"icmp ne i{self.lanes} {bits}, 0")
        name = function.fresh("mend")
        function.branch(f"{name}.start")
        function.label(f"{name}.start")
        function.lines.append(f"  br i1 {some}, label %{name}, label %{name}.done")
        function.label(name)
        slow = self._loops(pieces, count, self._add_with_care)
        function.branch(f"{name}.end")
        function.label(f"{name}.end")
        function.branch(f"{name}.done")
        function.label(f"{name}.done")
        return [
            function.emit(f"phi {kind} [ {a}, %{name}.start ], [ {b}, %{name}.end ]")
            for a, b in zip(fast, slow, strict=True)
        ]

    def _loops(
        self, pieces: Sequence[tuple[str, str, str, Terms]], count: int, add: Callable[[Body, str, str, str], str]
    ) -> list[str]:
        zero = f"{TYPES[self.dtype][0]} {constant(0, self.dtype)}"
        sums = [f"<{', '.join([zero] * self.lanes)}>"] * count
        for start, stop, step, terms in pieces:
            sums = self._loop(start, stop, step, terms, sums, add)
        return sums

    def _loop(
        self, start: str, stop: str, step: str, terms: Terms, sums: list[str], add: Callable[[Body, str, str, str], str]
    ) -> list[str]:
        """Emit a loop that adds products to sums; return the sums after it."""
        function = self.function
        name = function.fresh("sum")
        kind = f"<{self.lanes} x {TYPES[self.dtype][0]}>"
        function.branch(f"{name}.start")
        function.label(f"{name}.start")
        function.branch(name)
        function.label(name)
        lines = function.lines
        index = f"%{name}.i"
        phi, *opaque = function.index(index, f"[ {start}, %{name}.start ], [ {index}.next, %{name}.end ]")
        lines.append(phi)
        heads = [f"%{name}.{k}" for k in range(len(sums))]
        place = len(lines)
        lines += opaque
        inside = function.emit(f"icmp slt i64 {index}, {stop}")
        lines.append(f"  br i1 {inside}, label %{name}.body, label %{name}.done")
        function.label(f"{name}.body")
        body = Body(self.lanes, "x" + function.fresh("p"))
        products = terms(body, index)
        after = [add(body, total, a, b) for total, (a, b) in zip(heads, products, strict=True)]
        self._append(body)
        function.branch(f"{name}.end")
        function.label(f"{name}.end")
        lines.append(f"  {index}.next = add i64 {index}, {step}")
        function.branch(name)
        function.label(f"{name}.done")
        lines[place:place] = [
            f"  {head} = phi {kind} [ {before}, %{name}.start ], [ {next_}, %{name}.end ]"
            for head, before, next_ in zip(heads, sums, after, strict=True)
        ]
        return heads

    def _add(self, body: Body, total: str, a: str, b: str) -> str:
        return body.intrinsic("fmuladd", self.dtype, a, b, total)

    def _add_with_care(self, body: Body, total: str, a: str, b: str) -> str:
        kind = body.type(self.dtype)
        zeros = (a, b)[self.s.attrs[0] ^ self.tile.left]
        product = annihilating(body, self.dtype, body.emit(f"fmul {kind} {a}, {b}"), [zeros])
        return body.emit(f"fadd {kind} {total}, {product}")
