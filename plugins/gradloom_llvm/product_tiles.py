"""Tiles: the parts of a product of matrices that stay in registers, and what is packed for them; as IR text."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, final

import numpy as np

from gradloom.memory import LINE, whole_lines
from gradloom_llvm.engine import host
from gradloom_llvm.text import Text
from gradloom_llvm.turning import transposed

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
    w = Writer(tiles)
    whole = (height, width) == (tiles.heights[0], tiles.width)
    cells = [(i, j) for i in range(height) for j in range(width)]
    vector_bytes = tiles.lanes * tiles.itemsize
    bits = f"i{tiles.lanes}"
    tall = tiles.heights[0]
    steps = [(w.emit(f"mul i64 %ra, {i}"), w.emit(f"mul i64 %rc, {i}")) for i in range(1, min(height, tall))]
    masks = [w.mask("%valid", j * tiles.lanes) for j in range(width)]
    w.lines += [
        "  br label %next",
        "next:",
        "  %rest = phi i64 [ %rows, %entry ], [ %rest.next, %stored ]",
        "  %first = phi ptr [ %a, %entry ], [ %first.next, %stored ]",
        "  %out = phi ptr [ %c, %entry ], [ %out.next, %stored ]",
        f"  %nan = phi {bits} [ 0, %entry ], [ %nan.next, %stored ]",
        "  %ends = icmp sle i64 %rest, 0",
        "  br i1 %ends, label %end, label %begin",
        "end:",
        f"  %any = icmp ne {bits} %nan, 0",
        "  ret i1 %any",
        "begin:",
    ]
    if not whole:
        there = w.minimum("%rest", "%height")
        for i, (a, c) in enumerate(steps):
            is_there = w.emit(f"icmp ugt i64 {there}, {i + 1}")
            steps[i] = w.emit(f"select i1 {is_there}, i64 {a}, i64 0"), w.emit(f"select i1 {is_there}, i64 {c}, i64 0")
    beyond = "0", "0"
    if height > tall:
        both = w.emit(f"icmp ugt i64 {there}, {tall}")
        of_c = w.emit(f"mul i64 %rc, {tall}")
        beyond = w.emit(f"select i1 {both}, i64 %apart, i64 0"), w.emit(f"select i1 {both}, i64 {of_c}, i64 0")
    # Opaque, so that each stays in a register of its own: LLVM would compute the addresses anew at each step.
    across = ["0", *[w.emit(f'call i64 asm "", "=r,0"(i64 {step})') for step, _ in steps]]
    bases = ["%out"] if height <= tall else ["%out", w.at("%out", beyond[1])]
    lines = [line for base in bases for line in (base, *[w.at(base, step) for _, step in steps])]
    places = {(i, j): w.at(lines[i], str(j * vector_bytes)) for i, j in cells}
    w.lines.append("  br i1 %more, label %resume, label %start")
    w.label("resume")
    before = {(i, j): w.load(places[i, j], masks[j]) for i, j in cells}
    w.branch("start")
    w.label("start")
    for i, j in cells:
        w.lines.append(f"  %z.{i}.{j} = phi {w.vector} [ zeroinitializer, %begin ], [ {before[i, j]}, %resume ]")
    w.branch("loop")
    w.label("loop")
    w.lines += [
        "  %left = phi i64 [ %k, %start ], [ %left.next, %loop ]",
        "  %column = phi ptr [ %first, %start ], [ %column.next, %loop ]",
        "  %row = phi ptr [ %b, %start ], [ %row.next, %loop ]",
    ]
    for i, j in cells:
        w.lines.append(f"  %s.{i}.{j} = phi {w.vector} [ %z.{i}.{j}, %start ], [ %t.{i}.{j}, %loop ]")
    columns = [w.load(w.at("%row", str(j * vector_bytes))) for j in range(width)]
    bases = ["%column"] if height <= tall else ["%column", w.at("%column", beyond[0])]
    for i in range(height):
        factor = w.splat(w.at(bases[i // tall], across[i % tall]))
        for j in range(width):
            operands = f"{w.vector} {factor}, {w.vector} {columns[j]}, {w.vector} %s.{i}.{j}"
            w.lines.append(f"  %t.{i}.{j} = call {w.vector} @llvm.fma.{w.name}({operands})")
    w.lines += [
        "  %column.next = getelementptr i8, ptr %column, i64 %ka",
        "  %row.next = getelementptr i8, ptr %row, i64 %rb",
        "  %left.next = sub i64 %left, 1",
        "  %over = icmp eq i64 %left.next, 0",
        "  br i1 %over, label %done, label %loop",
        "done:",
    ]
    if height >= tall:  # a low one ends a panel: it need not be fast
        all_there = w.emit(f"icmp uge i64 %valid, {width * tiles.lanes}")
        w.lines.append(f"  br i1 {all_there}, label %store, label %store.some")
        w.label("store")
        _store_results(w, places)
    else:
        w.branch("store.some")
    w.label("store.some")
    _store_results(w, places, masks)
    w.label("stored")
    undefined = "zeroinitializer"
    for j, mask in enumerate(masks):
        column = "zeroinitializer"
        for i in range(0, height, 2):  # two at a time: either is a NaN
            own = w.emit(f"fcmp uno {w.vector} %t.{i}.{j}, %t.{min(i + 1, height - 1)}.{j}")
            column = w.emit(f"or {w.lane_mask} {column}, {own}")
        undefined = w.emit(f"or {w.lane_mask} {undefined}, {w.emit(f'and {w.lane_mask} {column}, {mask}')}")
    w.lines += [
        f"  %nan.next = or {bits} %nan, {w.emit(f'bitcast {w.lane_mask} {undefined} to {bits}')}",
        "  %rest.next = sub i64 %rest, %height",
        "  %first.next = getelementptr i8, ptr %first, i64 %down",
        f"  %out.next = getelementptr i8, ptr %out, i64 {w.emit('mul i64 %rc, %height')}",
        "  br label %next",
    ]
    arguments = (
        "i64 %k, ptr %a, i64 %ra, i64 %ka, i64 %down, i64 %apart, ptr %b, i64 %rb, "
        "ptr %c, i64 %rc, i1 %more, i64 %valid, i64 %rows, i64 %height"
    )
    return w.function(f"i1 @tile.{height}.{width}({arguments})")


def _store_results(w: Writer, places: dict[tuple[int, int], str], masks: list[str] | None = None) -> None:
    """Store the results of a tile; under masks that takes some processors much longer."""
    for (i, j), place in places.items():
        w.store(f"%t.{i}.{j}", place, masks[j] if masks else None)
    w.branch("stored")


def pack_rows(tiles: Tiles) -> str:
    """Write the function that packs the ``%rows`` of a tile of ``%height``: those of one step stand together."""
    w = Writer(tiles)
    size, tall = tiles.itemsize, tiles.heights[0]
    step_bytes = w.emit(f"mul i64 %height, {size}")
    whole = w.emit(f"and i1 {w.emit(f'icmp eq i64 %ra, {size}')}, {w.emit(f'icmp eq i64 %rows, {tall}')}")
    w.lines.append(f"  br i1 {whole}, label %side.by.side, label %apart")
    for name in ("side.by.side", "apart"):
        w.label(name)
        k, close = w.open("0", "%k", "1")
        source, target = w.at("%a", w.emit(f"mul i64 {k}, %ka")), w.at("%to", w.emit(f"mul i64 {k}, {step_bytes}"))
        if name == "apart":
            i, close_rows = w.open("0", "%rows", "1")
            w.copy(w.at(source, w.emit(f"mul i64 {i}, %ra")), w.at(target, w.emit(f"mul i64 {i}, {size}")))
            close_rows()
        else:
            w.copy(source, target, f"<{tall} x {tiles.kind}>")
        close()
        w.lines.append("  ret void")
    return w.function("void @pack.rows(i64 %k, ptr %a, i64 %ra, i64 %ka, ptr %to, i64 %height, i64 %rows)")


def pack_panel(tiles: Tiles, width: int) -> str:
    """Write the function that packs a panel whose columns lie side by side, of which ``%valid`` are there.

    It takes the panel step by step, so that the lines that a step lies on are read once.
    """
    w = Writer(tiles)
    vector_bytes = tiles.lanes * tiles.itemsize
    masks = [w.mask("%valid", j * tiles.lanes) for j in range(width)]
    k, close = w.open("0", "%k", "1")
    source, target = (
        w.at("%b", w.emit(f"mul i64 {k}, %kb")),
        w.at("%to", w.emit(f"mul i64 {k}, {width * vector_bytes}")),
    )
    for j, mask in enumerate(masks):
        place = str(j * vector_bytes)
        w.store(w.load(w.at(source, place), mask), w.at(target, place), align=vector_bytes)
    close()
    w.lines.append("  ret void")
    return w.function(f"void @pack.panel.{width}(i64 %k, ptr %b, i64 %kb, ptr %to, i64 %valid)")


def pack_columns(tiles: Tiles) -> str:
    """Write the function that packs some columns that lie apart, of which the first ``%valid`` are there.

    Steps of the packed panel are ``%step`` bytes apart.
    """
    w = Writer(Tiles(tiles.kind, tiles.itemsize, tiles.packed, tiles.width, tiles.heights))
    lanes, size = tiles.packed, tiles.itemsize
    full = w.emit(f"icmp eq i64 %valid, {lanes}")
    steps_beside = w.emit(f"and i1 {full}, {w.emit(f'icmp eq i64 %kb, {size}')}")
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
    """Pack as many steps as a vector has lanes, where steps are contiguous."""
    lanes, size = w.tiles.lanes, w.tiles.itemsize
    source = w.at("%b", w.emit(f"mul i64 {k}, {size}"))
    rows = [w.load(w.at(source, w.emit(f"mul i64 %cb, {r}"))) for r in range(lanes)]
    target = w.at("%to", w.emit(f"mul i64 {k}, %step"))
    for r, row in enumerate(transposed(w.emit, w.vector, rows)):
        w.store(row, w.at(target, w.emit(f"mul i64 %step, {r}")), align=lanes * size)
