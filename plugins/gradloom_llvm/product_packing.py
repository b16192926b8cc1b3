"""What of a product of matrices is packed: copied, so that the loads that follow are contiguous; as IR text."""

from __future__ import annotations

from gradloom_llvm.product_tiles import Tiles, Writer
from gradloom_llvm.turning import transposed


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
