"""Turning: copies that read along one label and write along another, by squares that are turned in registers."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gradloom_llvm.elementwise import TYPES
from gradloom_llvm.function import Function
from gradloom_llvm.statements import Statement, Turn

#: Side of a square, at most: as many registers hold it.
SIDE = 8


def emit_turn(function: Function, s: Statement, turn: Turn, r0: str, r1: str) -> None:
    """Emit the loops of a copy; ``r0``, ``r1`` bound the block of rows."""
    index: dict[int, str] = {}
    closes = []
    for label in function.loops.ordered(s.loop - {turn.read, turn.written}):
        index[label], close = function.open(*function.range(label, r0, r1), "1")
        closes.append(close)
    copy = _Copy(function, s, turn, index, r0)
    (i0, i1), (j0, j1) = [function.range(label, r0, r1) for label in (turn.read, turn.written)]
    i2, j2 = copy.last_square(i0, i1), copy.last_square(j0, j1)
    i, close_squares = function.open(i0, i2, str(copy.side))
    j, close_row = function.open(j0, j2, str(copy.side))
    copy.square(i, j)
    close_row()
    copy.elements(i, function.emit(f"add i64 {i}, {copy.side}"), j2, j1)
    close_squares()
    copy.elements(i2, i1, j0, j1)
    for close in reversed(closes):
        close()


class _Copy:
    """A copy at one point of the loops around it; ``i`` counts along the label that is read, ``j`` along the other."""

    def __init__(self, function: Function, s: Statement, turn: Turn, index: dict[int, str], r0: str) -> None:
        self.function = function
        self.source, self.target = s.inputs[0], s.id
        self.turn = turn
        self.index = index
        self.r0 = r0
        self.dtype = function.loops.values[s.id].dtype
        self.memory = TYPES[self.dtype][1]
        self.side = min(SIDE, function.vector_bytes // self.dtype.itemsize)

    def last_square(self, start: str, stop: str) -> str:
        """Return where whole squares end."""
        function = self.function
        whole = function.emit(f"and i64 {function.emit(f'sub i64 {stop}, {start}')}, -{self.side}")
        return function.emit(f"add i64 {start}, {whole}")

    def square(self, i: str, j: str) -> None:
        """Copy a square."""
        function, size = self.function, self.dtype.itemsize
        vector = f"<{self.side} x {self.memory}>"
        rows = [
            function.emit(f"load {vector}, ptr {self._at(self.source, i, self._beside(j, k))}, align {size}")
            for k in range(self.side)
        ]
        for k, row in enumerate(transposed(function.emit, vector, rows)):
            address = self._at(self.target, self._beside(i, k), j)
            function.lines.append(f"  store {vector} {row}, ptr {address}, align {size}")

    def elements(self, i0: str, i1: str, j0: str, j1: str) -> None:
        """Copy what is left, one by one."""
        function, size = self.function, self.dtype.itemsize
        i, close = function.open(i0, i1, "1")
        j, close_inner = function.open(j0, j1, "1")
        value = function.emit(f"load {self.memory}, ptr {self._at(self.source, i, j)}, align {size}")
        function.lines.append(f"  store {self.memory} {value}, ptr {self._at(self.target, i, j)}, align {size}")
        close_inner()
        close()

    def _beside(self, position: str, k: int) -> str:
        return self.function.emit(f"add i64 {position}, {k}") if k else position

    def _at(self, value: int, i: str, j: str) -> str:
        return self.function.address(value, self.index | {self.turn.read: i, self.turn.written: j}, self.r0)


def transposed(emit: Callable[[str], str], vector: str, rows: Sequence[str]) -> list[str]:
    """Return the columns of a square of as many vectors as they have lanes, a power of two.

    Squares of half the lanes change places across the diagonal, then in each square those of half its size, and so on.
    """
    rows, lanes = list(rows), len(rows)
    half = lanes // 2
    while half:
        upper = [lane if not lane & half else lane - half + lanes for lane in range(lanes)]
        lower = [lane + half if not lane & half else lane + lanes for lane in range(lanes)]
        masks = [", ".join(f"i32 {lane}" for lane in part) for part in (upper, lower)]
        for r in [r for r in range(lanes) if not r & half]:
            pair = f"{vector} {rows[r]}, {vector} {rows[r + half]}"
            rows[r], rows[r + half] = [emit(f"shufflevector {pair}, <{lanes} x i32> <{mask}>") for mask in masks]
        half //= 2
    return rows
