"""Tiles: the parts of a product of matrices that stay in registers; as IR text."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, final

import numpy as np

from gradloom.memory import LINE, whole_lines
from gradloom_llvm.engine import host
from gradloom_llvm.text import Text

#: Bytes of one column of a packed panel: so long are the stretches of the summed axis that are worked off at a time.
STRETCH: Final = 4096


@final
class Tiles:
    """How results are held in registers.

    Attributes
    ----------
    kind : str
        LLVM's name of an element.
    itemsize : int
        Bytes of an element.
    lanes : int
        Elements of a vector.
    width : int
        Vectors of a panel; one or two that are left over are taken one vector at a time.
    heights : tuple of int
        Rows of a tile, and of the tiles that take what is left over: two, of which the last may have one.
    """

    __slots__ = ("heights", "itemsize", "kind", "lanes", "width")

    def __init__(self, kind: str, itemsize: int, lanes: int, width: int, heights: tuple[int, int]) -> None:
        self.kind, self.itemsize, self.lanes = kind, itemsize, lanes
        self.width, self.heights = width, heights

    @property
    def vector(self) -> str:
        """LLVM's name of a vector."""
        return f"<{self.lanes} x {self.kind}>"

    @property
    def packed(self) -> int:
        """Columns that are packed at a time; more would take LLVM long to compile."""
        return min(self.lanes, 8)

    @property
    def stretch(self) -> int:
        """Elements of the summed axis that are worked off at a time."""
        return STRETCH // self.itemsize

    def workspace(self, rows: int, summed: int) -> int:
        """Return the bytes of workspace that a product needs: whole lines of the cache, so that others may follow."""
        packed = min(summed, self.stretch) * self.itemsize * (self.width * self.lanes + rows + 1)
        return LINE + whole_lines(packed)


@cache
def tiles(dtype: np.dtype[Any]) -> Tiles | None:
    """Return how products of a dtype are tiled on this machine; None where BLAS does them."""
    this = host()
    many_registers = this.vector_bytes == 64 or this.triple.startswith(("aarch64", "arm64"))
    has_fma = many_registers or this.vector_bytes == 32
    if not has_fma or dtype.name not in ("float32", "float64"):
        return None
    width, heights = (4, (6, 2)) if many_registers else (3, (4, 2))
    kind = "float" if dtype.itemsize == 4 else "double"
    return Tiles(kind, dtype.itemsize, this.vector_bytes // dtype.itemsize, width, heights)


@final
class Writer(Text):
    """The text of one function on vectors of some kind."""

    def __init__(self, tiles: Tiles) -> None:
        super().__init__()
        self.tiles = tiles
        self.vector = tiles.vector
        self.name = f"v{tiles.lanes}f{8 * tiles.itemsize}"
        self.lane_mask = f"<{tiles.lanes} x i1>"

    def at(self, pointer: str, offset: str) -> str:
        """Return the address some bytes from another."""
        return self.emit(f"getelementptr i8, ptr {pointer}, i64 {offset}")

    def mask(self, valid: str, first: int = 0) -> str:
        """Return the mask of the lanes whose number, counted from ``first``, is less than that of the valid ones."""
        lanes, kind = self.tiles.lanes, f"i{8 * self.tiles.itemsize}"
        if kind != "i64":
            valid = self.emit(f"trunc i64 {valid} to {kind}")
        one = self.emit(f"insertelement <{lanes} x {kind}> poison, {kind} {valid}, i64 0")
        zeros = f"<{lanes} x i32> zeroinitializer"
        all_ = self.emit(f"shufflevector <{lanes} x {kind}> {one}, <{lanes} x {kind}> poison, {zeros}")
        count = ", ".join(f"{kind} {first + lane}" for lane in range(lanes))
        return self.emit(f"icmp slt <{lanes} x {kind}> <{count}>, {all_}")

    def load(self, pointer: str, mask: str | None = None, align: int = 0) -> str:
        """Load a vector; zeros where a mask is not set."""
        align = align or self.tiles.itemsize
        if mask is None:
            return self.emit(f"load {self.vector}, ptr {pointer}, align {align}")
        return self.emit(
            f"call {self.vector} @llvm.masked.load.{self.name}.p0"
            f"(ptr {pointer}, i32 {align}, {self.lane_mask} {mask}, {self.vector} zeroinitializer)"
        )

    def store(self, value: str, pointer: str, mask: str | None = None, align: int = 0) -> None:
        """Store a vector, where a mask is set."""
        align = align or self.tiles.itemsize
        if mask is None:
            self.lines.append(f"  store {self.vector} {value}, ptr {pointer}, align {align}")
        else:
            self.lines.append(
                f"  call void @llvm.masked.store.{self.name}.p0"
                f"({self.vector} {value}, ptr {pointer}, i32 {align}, {self.lane_mask} {mask})"
            )

    def splat(self, pointer: str) -> str:
        """Load one element into all lanes."""
        tiles = self.tiles
        one = self.emit(f"load {tiles.kind}, ptr {pointer}, align {tiles.itemsize}")
        first = self.emit(f"insertelement {self.vector} poison, {tiles.kind} {one}, i64 0")
        zeros = f"<{tiles.lanes} x i32> zeroinitializer"
        return self.emit(f"shufflevector {self.vector} {first}, {self.vector} poison, {zeros}")

    def copy(self, source: str, target: str, kind: str = "") -> None:
        """Copy one element, or a vector of some kind."""
        kind, align = kind or self.tiles.kind, self.tiles.itemsize
        one = self.emit(f"load {kind}, ptr {source}, align {align}")
        self.lines.append(f"  store {kind} {one}, ptr {target}, align {align}")

    def function(self, head: str, how: str = "") -> str:
        """Return the text of the function with some head and attributes."""
        return "\n".join([f"define {head} {how} nounwind {{", "entry:", *self.lines, "}"])


def tile(tiles: Tiles, height: int, width: int) -> str:
    """Write the function of the tiles of ``%rows`` rows, one below the other: ``%height`` rows of ``width`` vectors.

    All strides are in bytes; ``%down`` is that from tile to tile of ``%a``. What is twice as high as a tall tile takes
    two of these, which lie ``%apart``. ``%more`` says that results so far stand in ``%c``; ``%valid`` is the number of
    columns that are there. It returns whether there is a NaN. Where a tile has fewer rows than the function computes,
    its first row is computed several times; wide tiles of the larger height are always whole.
    """
    return _Tile(tiles, height, width).function()


@final
class _Tile:
    """The function of tiles of some height and width, while it is written.

    ``%s`` are the sums before a step, ``%t`` those after it, each with the numbers of its row and its vector.
    """

    __slots__ = ("bits", "cells", "height", "masks", "tall", "w", "width")

    def __init__(self, tiles: Tiles, height: int, width: int) -> None:
        self.w = Writer(tiles)
        self.height, self.width, self.tall = height, width, tiles.heights[0]
        self.cells = [(i, j) for i in range(height) for j in range(width)]
        self.bits = f"i{tiles.lanes}"
        self.masks: list[str] = []

    def function(self) -> str:
        """Return the text."""
        w = self.w
        steps = [
            (w.emit(f"mul i64 %ra, {i}"), w.emit(f"mul i64 %rc, {i}")) for i in range(1, min(self.height, self.tall))
        ]
        self.masks = [w.mask("%valid", j * w.tiles.lanes) for j in range(self.width)]
        self._open_tiles()
        steps, beyond = self._steps_to_rows(steps)
        # Opaque, so that each stays in a register of its own: LLVM would compute the addresses anew at each step.
        across = ["0", *[w.emit(f'call i64 asm "", "=r,0"(i64 {step})') for step, _ in steps]]
        places = self._places(["0", *[step for _, step in steps]], beyond[1])
        self._sum(places, across, beyond[0])
        self._store(places)
        self._close_tiles(self._undefined())
        arguments = (
            "i64 %k, ptr %a, i64 %ra, i64 %ka, i64 %down, i64 %apart, ptr %b, i64 %rb, "
            "ptr %c, i64 %rc, i1 %more, i64 %valid, i64 %rows, i64 %height"
        )
        return w.function(f"i1 @tile.{self.height}.{self.width}({arguments})")

    def _open_tiles(self) -> None:
        """Open the loop over tiles."""
        self.w.lines += [
            "  br label %next",
            "next:",
            "  %rest = phi i64 [ %rows, %entry ], [ %rest.next, %stored ]",
            "  %first = phi ptr [ %a, %entry ], [ %first.next, %stored ]",
            "  %out = phi ptr [ %c, %entry ], [ %out.next, %stored ]",
            f"  %nan = phi {self.bits} [ 0, %entry ], [ %nan.next, %stored ]",
            "  %ends = icmp sle i64 %rest, 0",
            "  br i1 %ends, label %end, label %begin",
            "end:",
            f"  %any = icmp ne {self.bits} %nan, 0",
            "  ret i1 %any",
            "begin:",
        ]

    def _close_tiles(self, undefined: str) -> None:
        """Go on to the next tile, knowing which columns of this one hold a NaN."""
        w = self.w
        w.lines += [
            f"  %nan.next = or {self.bits} %nan, {w.emit(f'bitcast {w.lane_mask} {undefined} to {self.bits}')}",
            "  %rest.next = sub i64 %rest, %height",
            "  %first.next = getelementptr i8, ptr %first, i64 %down",
            f"  %out.next = getelementptr i8, ptr %out, i64 {w.emit('mul i64 %rc, %height')}",
            "  br label %next",
        ]

    def _steps_to_rows(self, steps: list[tuple[str, str]]) -> tuple[list[tuple[str, str]], tuple[str, str]]:
        """Return how far rows of ``%a`` and ``%c`` lie from the first, and the second tall tile; none where none is."""
        w = self.w
        if (self.height, self.width) == (self.tall, w.tiles.width):
            return steps, ("0", "0")
        there = w.minimum("%rest", "%height")

        def where_more(rows: int, of_a: str, of_c: str) -> tuple[str, str]:
            more = w.emit(f"icmp ugt i64 {there}, {rows}")
            return w.emit(f"select i1 {more}, i64 {of_a}, i64 0"), w.emit(f"select i1 {more}, i64 {of_c}, i64 0")

        steps = [where_more(i, *step) for i, step in enumerate(steps, 1)]
        if self.height <= self.tall:
            return steps, ("0", "0")
        return steps, where_more(self.tall, "%apart", w.emit(f"mul i64 %rc, {self.tall}"))

    def _both(self, base: str, beyond: str) -> list[str]:
        """Return the addresses of the first tall tile and the second, as far as there are such."""
        return [base] if self.height <= self.tall else [base, self.w.at(base, beyond)]

    def _places(self, steps: list[str], beyond: str) -> dict[tuple[int, int], str]:
        """Return the addresses of the results."""
        w = self.w
        lines = [line for base in self._both("%out", beyond) for line in (base, *[w.at(base, s) for s in steps[1:]])]
        vector_bytes = w.tiles.lanes * w.tiles.itemsize
        return {(i, j): w.at(lines[i], str(j * vector_bytes)) for i, j in self.cells}

    def _sum(self, places: dict[tuple[int, int], str], across: list[str], beyond: str) -> None:
        """Add the products of all steps to the results so far."""
        w = self.w
        w.lines.append("  br i1 %more, label %resume, label %start")
        w.label("resume")
        before = {(i, j): w.load(places[i, j], self.masks[j]) for i, j in self.cells}
        w.branch("start")
        w.label("start")
        for i, j in self.cells:
            w.lines.append(f"  %z.{i}.{j} = phi {w.vector} [ zeroinitializer, %begin ], [ {before[i, j]}, %resume ]")
        w.branch("loop")
        w.label("loop")
        w.lines += [
            "  %left = phi i64 [ %k, %start ], [ %left.next, %loop ]",
            "  %column = phi ptr [ %first, %start ], [ %column.next, %loop ]",
            "  %row = phi ptr [ %b, %start ], [ %row.next, %loop ]",
        ]
        for i, j in self.cells:
            w.lines.append(f"  %s.{i}.{j} = phi {w.vector} [ %z.{i}.{j}, %start ], [ %t.{i}.{j}, %loop ]")
        self._multiply_add(across, beyond)
        w.lines += [
            "  %column.next = getelementptr i8, ptr %column, i64 %ka",
            "  %row.next = getelementptr i8, ptr %row, i64 %rb",
            "  %left.next = sub i64 %left, 1",
            "  %over = icmp eq i64 %left.next, 0",
            "  br i1 %over, label %done, label %loop",
            "done:",
        ]

    def _multiply_add(self, across: list[str], beyond: str) -> None:
        """Add the products of one step."""
        w = self.w
        vector_bytes = w.tiles.lanes * w.tiles.itemsize
        columns = [w.load(w.at("%row", str(j * vector_bytes))) for j in range(self.width)]
        bases = self._both("%column", beyond)
        for i in range(self.height):
            factor = w.splat(w.at(bases[i // self.tall], across[i % self.tall]))
            for j in range(self.width):
                operands = f"{w.vector} {factor}, {w.vector} {columns[j]}, {w.vector} %s.{i}.{j}"
                w.lines.append(f"  %t.{i}.{j} = call {w.vector} @llvm.fma.{w.name}({operands})")

    def _store(self, places: dict[tuple[int, int], str]) -> None:
        """Store the results; under masks, which takes some processors much longer, where columns are missing."""
        w = self.w
        if self.height >= self.tall:  # a low one ends a panel: it need not be fast
            all_there = w.emit(f"icmp uge i64 %valid, {self.width * w.tiles.lanes}")
            w.lines.append(f"  br i1 {all_there}, label %store, label %store.some")
            w.label("store")
            for (i, j), place in places.items():
                w.store(f"%t.{i}.{j}", place)
            w.branch("stored")
        else:
            w.branch("store.some")
        w.label("store.some")
        for (i, j), place in places.items():
            w.store(f"%t.{i}.{j}", place, self.masks[j])
        w.branch("stored")
        w.label("stored")

    def _undefined(self) -> str:
        """Return the lanes in which a result is a NaN."""
        w = self.w
        undefined = "zeroinitializer"
        for j, mask in enumerate(self.masks):
            column = "zeroinitializer"
            for i in range(0, self.height, 2):  # two at a time: either is a NaN
                own = w.emit(f"fcmp uno {w.vector} %t.{i}.{j}, %t.{min(i + 1, self.height - 1)}.{j}")
                column = w.emit(f"or {w.lane_mask} {column}, {own}")
            undefined = w.emit(f"or {w.lane_mask} {undefined}, {w.emit(f'and {w.lane_mask} {column}, {mask}')}")
        return undefined
