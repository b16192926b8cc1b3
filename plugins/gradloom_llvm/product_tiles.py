"""Tiles: the parts of a product of matrices that stay in registers, and what is packed for them; as IR text."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, NamedTuple, final

import numpy as np

from gradloom_llvm.engine import host
from gradloom_llvm.text import Text

#: Bytes of one column of a packed panel: so long are the stretches of the summed axis that are worked off at a time.
STRETCH: Final = 4096


@final
class Tiles(NamedTuple):
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
        Rows of a tile; what one leaves over the next takes.
    """

    kind: str
    itemsize: int
    lanes: int
    width: int
    heights: tuple[int, ...]

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
        packed = min(summed, self.stretch) * self.itemsize * (self.width * self.lanes + rows)
        return 64 + -(-packed // 64) * 64


@cache
def tiles(dtype: np.dtype[Any]) -> Tiles | None:
    """Return how products of a dtype are tiled on this machine; None where BLAS does them."""
    this = host()
    many_registers = this.vector_bytes == 64 or this.triple.startswith(("aarch64", "arm64"))
    has_fma = many_registers or this.vector_bytes == 32
    if not has_fma or dtype.name not in ("float32", "float64"):
        return None
    width, heights = (4, (6, 2, 1)) if many_registers else (3, (4, 2, 1))
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

    def mask(self, valid: str) -> str:
        """Return the mask of the first lanes."""
        lanes = self.tiles.lanes
        one = self.emit(f"insertelement <{lanes} x i64> poison, i64 {valid}, i64 0")
        all_ = self.emit(
            f"shufflevector <{lanes} x i64> {one}, <{lanes} x i64> poison, <{lanes} x i32> zeroinitializer"
        )
        count = ", ".join(f"i64 {lane}" for lane in range(lanes))
        return self.emit(f"icmp slt <{lanes} x i64> <{count}>, {all_}")

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

    def copy(self, source: str, target: str) -> None:
        """Copy one element."""
        kind, align = self.tiles.kind, self.tiles.itemsize
        one = self.emit(f"load {kind}, ptr {source}, align {align}")
        self.lines.append(f"  store {kind} {one}, ptr {target}, align {align}")

    def function(self, head: str, how: str = "") -> str:
        """Return the text of the function with some head and attributes."""
        return "\n".join([f"define internal {head} {how} nounwind {{", "entry:", *self.lines, "}"])


def tile(tiles: Tiles, height: int, width: int) -> str:
    """Write the function of one tile: ``height`` rows of ``width`` vectors.

    All strides are in bytes. ``%more`` says that results so far stand in ``%c``; ``%valid`` is the number of
    columns that are there. It returns whether there is a NaN.
    """
    w = Writer(tiles)
    cells = [(i, j) for i in range(height) for j in range(width)]
    rows = [w.at("%a", w.emit(f"mul i64 %ra, {i}")) for i in range(height)]
    ends = [w.at("%c", w.emit(f"mul i64 %rc, {i}")) for i in range(height)]
    vector_bytes = tiles.lanes * tiles.itemsize
    places = {(i, j): w.at(ends[i], str(j * vector_bytes)) for i, j in cells}
    masks = [w.mask(w.emit(f"sub i64 %valid, {j * tiles.lanes}")) for j in range(width)]
    w.lines.append("  br i1 %more, label %resume, label %start")
    w.label("resume")
    before = {(i, j): w.load(places[i, j], masks[j]) for i, j in cells}
    w.branch("start")
    w.label("start")
    for i, j in cells:
        w.lines.append(f"  %z.{i}.{j} = phi {w.vector} [ zeroinitializer, %entry ], [ {before[i, j]}, %resume ]")
    w.branch("loop")
    w.label("loop")
    w.lines += [
        "  %left = phi i64 [ %k, %start ], [ %left.next, %loop ]",
        "  %step = phi i64 [ 0, %start ], [ %step.next, %loop ]",
        "  %row = phi ptr [ %b, %start ], [ %row.next, %loop ]",
    ]
    for i, j in cells:
        w.lines.append(f"  %s.{i}.{j} = phi {w.vector} [ %z.{i}.{j}, %start ], [ %t.{i}.{j}, %loop ]")
    columns = [w.load(w.at("%row", str(j * vector_bytes))) for j in range(width)]
    for i in range(height):
        factor = w.splat(w.at(rows[i], "%step"))
        for j in range(width):
            operands = f"{w.vector} {factor}, {w.vector} {columns[j]}, {w.vector} %s.{i}.{j}"
            w.lines.append(f"  %t.{i}.{j} = call {w.vector} @llvm.fma.{w.name}({operands})")
    w.lines += [
        "  %step.next = add i64 %step, %ka",
        "  %row.next = getelementptr i8, ptr %row, i64 %rb",
        "  %left.next = sub i64 %left, 1",
        "  %over = icmp eq i64 %left.next, 0",
        "  br i1 %over, label %done, label %loop",
        "done:",
    ]
    undefined = "zeroinitializer"
    for j, mask in enumerate(masks):
        column = "zeroinitializer"
        for i in range(height):
            w.store(f"%t.{i}.{j}", places[i, j], mask)
            own = w.emit(f"fcmp uno {w.vector} %t.{i}.{j}, %t.{i}.{j}")
            column = w.emit(f"or {w.lane_mask} {column}, {own}")
        undefined = w.emit(f"or {w.lane_mask} {undefined}, {w.emit(f'and {w.lane_mask} {column}, {mask}')}")
    bits = w.emit(f"bitcast {w.lane_mask} {undefined} to i{tiles.lanes}")
    w.lines.append(f"  ret i1 {w.emit(f'icmp ne i{tiles.lanes} {bits}, 0')}")
    arguments = "i64 %k, ptr %a, i64 %ra, i64 %ka, ptr %b, i64 %rb, ptr %c, i64 %rc, i1 %more, i64 %valid"
    return w.function(f"i1 @tile.{height}.{width}({arguments})")


def pack_rows(tiles: Tiles) -> str:
    """Write the function that packs ``%height`` rows of a tile: those of one step stand together."""
    w = Writer(tiles)
    size = tiles.itemsize
    step_bytes = w.emit(f"mul i64 %height, {size}")
    mask = w.mask("%height")
    beside = w.emit(f"icmp eq i64 %ra, {size}")
    narrow = w.emit(f"icmp ule i64 %height, {tiles.lanes}")
    w.lines.append(f"  br i1 {w.emit(f'and i1 {beside}, {narrow}')}, label %side.by.side, label %apart")
    for name in ("side.by.side", "apart"):
        w.label(name)
        k, close = w.open("0", "%k", "1")
        source, target = w.at("%a", w.emit(f"mul i64 {k}, %ka")), w.at("%to", w.emit(f"mul i64 {k}, {step_bytes}"))
        if name == "apart":
            i, close_rows = w.open("0", "%height", "1")
            w.copy(w.at(source, w.emit(f"mul i64 {i}, %ra")), w.at(target, w.emit(f"mul i64 {i}, {size}")))
            close_rows()
        else:
            w.store(w.load(source, mask), target, mask)
        close()
        w.lines.append("  ret void")
    return w.function("void @pack.rows(i64 %k, ptr %a, i64 %ra, i64 %ka, ptr %to, i64 %height)")


def pack_columns(tiles: Tiles) -> str:
    """Write the function that packs some columns, of which the first ``%valid`` are there.

    Steps of the packed panel are ``%step`` bytes apart.
    """
    w = Writer(tiles._replace(lanes=tiles.packed))
    lanes, size = tiles.packed, tiles.itemsize
    full = w.emit(f"icmp eq i64 %valid, {lanes}")
    columns_beside = w.emit(f"and i1 {full}, {w.emit(f'icmp eq i64 %cb, {size}')}")
    steps_beside = w.emit(f"and i1 {full}, {w.emit(f'icmp eq i64 %kb, {size}')}")
    w.lines.append(f"  br i1 {columns_beside}, label %side.by.side, label %apart")
    w.label("side.by.side")
    k, close = w.open("0", "%k", "1")
    vector = w.load(w.at("%b", w.emit(f"mul i64 {k}, %kb")))
    w.store(vector, w.at("%to", w.emit(f"mul i64 {k}, %step")), align=lanes * size)
    close()
    w.lines.append("  ret void")
    w.label("apart")
    blocks = w.emit(f"and i64 %k, -{lanes}")
    done = w.emit(f"select i1 {steps_beside}, i64 {blocks}, i64 0")
    k, close = w.open("0", done, str(lanes))
    _transpose_block(w, k)
    close()
    k, close = w.open(done, "%k", "1")
    source, target = w.at("%b", w.emit(f"mul i64 {k}, %kb")), w.at("%to", w.emit(f"mul i64 {k}, %step"))
    w.store("zeroinitializer", target, align=lanes * size)
    j, close_columns = w.open("0", "%valid", "1")
    w.copy(w.at(source, w.emit(f"mul i64 {j}, %cb")), w.at(target, w.emit(f"mul i64 {j}, {size}")))
    close_columns()
    close()
    w.lines.append("  ret void")
    return w.function("void @pack.columns(i64 %k, ptr %b, i64 %kb, i64 %cb, ptr %to, i64 %step, i64 %valid)")


def _transpose_block(w: Writer, k: str) -> None:
    """Pack as many steps as a vector has lanes, where steps are contiguous.

    Squares of half the lanes change places across the diagonal, then in each square those of half its size, and so on.
    """
    lanes, size = w.tiles.lanes, w.tiles.itemsize
    source = w.at("%b", w.emit(f"mul i64 {k}, {size}"))
    rows = [w.load(w.at(source, w.emit(f"mul i64 %cb, {r}"))) for r in range(lanes)]
    half = lanes // 2
    while half:
        upper = [lane if not lane & half else lane - half + lanes for lane in range(lanes)]
        lower = [lane + half if not lane & half else lane + lanes for lane in range(lanes)]
        masks = [", ".join(f"i32 {lane}" for lane in part) for part in (upper, lower)]
        for r in [r for r in range(lanes) if not r & half]:
            pair = f"{w.vector} {rows[r]}, {w.vector} {rows[r + half]}"
            rows[r], rows[r + half] = [w.emit(f"shufflevector {pair}, <{lanes} x i32> <{mask}>") for mask in masks]
        half //= 2
    target = w.at("%to", w.emit(f"mul i64 {k}, %step"))
    for r, row in enumerate(rows):
        w.store(row, w.at(target, w.emit(f"mul i64 %step, {r}")), align=lanes * size)
