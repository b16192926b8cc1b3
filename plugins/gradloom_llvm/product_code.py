"""Products of matrices: native code that multiplies, for the sizes and layouts that programs have.

One call computes ``out = a @ b`` for matrices of float32 or float64, or for stacks of them. Each element of the
result is one chain of multiply-adds along the summed axis, in order, so its bits depend on its row and its column
alone: however a product is cut, and whatever the strides are, they stay the same.

Columns are taken in panels of a few vectors. A panel of ``b`` is packed (copied so that the loads that follow
are contiguous); rows of ``a`` are taken in tiles whose results stay in registers, and read as they stand. Where
neighbours along the summed axis lie apart in memory, or rows whole pages apart, so that they compete for one place in
the cache, ``a`` is packed too. With few columns that does not pay: then short stretches of the summed axis are worked
off at a time, so that the lines of the cache that one tile reads are still there for the next. Many short rows are
taken in blocks that stay in the cache, with their results, until all panels have passed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from gradloom_llvm.engine import Library, begin
from gradloom_llvm.entry import builtin, prelude
from gradloom_llvm.jobs import Job
from gradloom_llvm.product_entries import PRODUCT_ARGUMENTS, entries
from gradloom_llvm.product_tiles import Tiles, Writer, pack_columns, pack_panel, pack_rows, tile

#: Up to so many rows panels are not packed, where the columns of ``b`` are contiguous.
UNPACKED_ROWS: Final = 32
#: Rows of the left matrix, at least, that all panels are multiplied with before the next, which finds them in the
#: cache; as panels are packed each time, it pays for rows of so few bytes alone.
BLOCK_ROWS: Final = 240
SHORT_ROW: Final = 512
#: Steps of the summed axis whose rows are packed at a time: the lines that neighbouring tiles lie on are still there.
CHUNK: Final = 32


@cache
def multiply(dtype: np.dtype[Any], tiles: Tiles) -> Callable[..., bool]:
    """Return the builtin ``multiply(a, b, out, workspace)`` of a dtype.

    It writes ``a @ b`` into ``out``, whose rows are contiguous, and returns whether the result holds a NaN.
    The three have the same number of axes, and the leading ones broadcast. ``workspace`` is a one-dimensional
    array of uint8. TypeError says that an argument does not fit.
    """
    return builtin(_library(dtype, tiles).result()(), "multiply")


@cache
def multiply_together(dtype: np.dtype[Any], tiles: Tiles) -> Callable[..., bool]:
    """Return the builtin ``multiply_together(a, b, out, workspace, mailbox, workers)``: the same by a team.

    ``workers`` is an array of int64: how many threads, and the bytes of workspace that each has.
    """
    return builtin(_library(dtype, tiles).result()(), "multiply_together")


def begin_multiply(dtype: np.dtype[Any], tiles: Tiles) -> None:
    """Begin to compile both builtins."""
    _library(dtype, tiles).begin()


@cache
def _library(dtype: np.dtype[Any], tiles: Tiles) -> Job[Callable[[], Library]]:
    """Return what begins to compile, when LLVM has started, and returns what waits for the code."""
    ir, using = prelude() + entry_source(tiles, dtype.num), tile_sources(tiles)
    return Job(lambda: begin(ir, quick=True, using=using))


@cache
def tile_sources(tiles: Tiles) -> tuple[str, str]:
    """Return the IR of what multiplies and of what packs, which are compiled well, at the same time."""
    multiplies = [tile(tiles, height, width) for height, width in _shapes(tiles)]
    packs = [*[pack_panel(tiles, width) for width in (tiles.width, 1)], pack_rows(tiles), pack_columns(tiles)]
    text = _INTRINSICS.replace("VECTOR", tiles.vector).replace("LANES", str(tiles.lanes))
    text = text.replace("NAME", f"v{tiles.lanes}f{8 * tiles.itemsize}")
    return "\n".join([text, *multiplies]), "\n".join([text, *packs])


def entry_source(tiles: Tiles, number: int) -> str:
    """Return the IR of the builtins for a dtype of some number: they call what multiplies, and take no time."""
    declared = [f"declare {head}" for head in _HEAD.findall("".join(tile_sources(tiles)))]
    return "\n".join([_DECLARATIONS, *declared, _product(tiles), *entries(tiles, number)])


def _shapes(tiles: Tiles) -> list[tuple[int, int]]:
    """Return the heights and widths of tiles; narrow ones are twice as tall, as one sum waits for the one before."""
    tall, low = tiles.heights
    return [(tall, tiles.width), (low, tiles.width), (2 * tall, 1)]


_INTRINSICS = """
declare i64 @llvm.smin.i64(i64, i64)
declare VECTOR @llvm.fma.NAME(VECTOR, VECTOR, VECTOR)
declare VECTOR @llvm.masked.load.NAME.p0(ptr, i32, <LANES x i1>, VECTOR)
declare void @llvm.masked.store.NAME.p0(VECTOR, ptr, i32, <LANES x i1>)
"""

_DECLARATIONS = """
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
@_Py_TrueStruct = external global i8
@_Py_FalseStruct = external global i8
@gradloom.misfit = private constant [28 x i8] c"a matrix does not fit here.\\00"
"""

#: What the other module must know of a function: up to the end of its arguments.
_HEAD: Final = re.compile(r"^define (.*?\))", re.MULTILINE)


def _block(w: Writer) -> str:
    """Return how many rows are multiplied before the next, in even shares; only the last may end within a tile."""
    tall = w.tiles.heights[0]
    short = w.emit(f"icmp ule i64 {w.emit(f'mul i64 %k, {w.tiles.itemsize}')}, {SHORT_ROW}")
    several = w.emit(f"select i1 {short}, i64 {w.emit(f'udiv i64 %m, {BLOCK_ROWS}')}, i64 1")
    unit = w.emit(f"mul i64 {w.emit(f'call i64 @llvm.smax.i64(i64 {several}, i64 1)')}, {tall}")
    beyond = w.emit(f"sub i64 {w.emit(f'add i64 %m, {unit}')}, 1")
    tiles = w.emit(f"udiv i64 {beyond}, {unit}")
    return w.emit(f"mul i64 {tiles}, {tall}")


def _product(tiles: Tiles) -> str:
    """Write the function of a whole product; strides are in bytes, ``%ws`` is aligned to 64 of them."""
    w = Writer(tiles)
    size = tiles.itemsize
    full_width = tiles.width * tiles.lanes
    w.lines += ["  %nan = alloca i8", "  store i8 0, ptr %nan"]
    few = w.emit(f"icmp sle i64 %m, {UNPACKED_ROWS}")
    side_by_side = w.emit(f"icmp eq i64 %cb, {size}")
    direct = w.emit(f"and i1 {few}, {side_by_side}")
    packed_rows = w.at("%ws", w.emit(f"mul i64 {w.minimum('%k', '%stretch')}, {full_width * size}"))
    tall, low = tiles.heights
    block = _block(w)
    k0, close = w.open("0", "%k", "%stretch")
    k = w.minimum(w.emit(f"sub i64 %k, {k0}"), "%stretch")
    more = w.emit(f"icmp ne i64 {k0}, 0")
    b, row_bytes = w.at("%b", w.emit(f"mul i64 {k0}, %kb")), w.emit(f"mul i64 {k}, {size}")
    i0, close_blocks = w.open("0", "%m", block)
    m = w.minimum(w.emit(f"sub i64 %m, {i0}"), block)
    a = w.at(w.at("%a", w.emit(f"mul i64 {k0}, %ka")), w.emit(f"mul i64 {i0}, %ra"))
    c = w.at("%c", w.emit(f"mul i64 {i0}, %rc"))
    tall_end = w.emit(f"sub i64 {m}, {w.emit(f'urem i64 {m}, {tall}')}")
    bands = ((tall, "0", tall_end), (low, tall_end, m))
    w.lines.append("  br i1 %packs, label %pack, label %packed")
    w.label("pack")
    q, close_chunks = w.open("0", k, str(CHUNK))
    steps, first = w.minimum(w.emit(f"sub i64 {k}, {q}"), str(CHUNK)), w.at(a, w.emit(f"mul i64 {q}, %ka"))
    for height, start, stop in bands:
        to = w.at(packed_rows, w.emit(f"mul i64 {q}, {height * size}"))
        i, close_rows = w.open(start, stop, str(height))
        source, target = w.at(first, w.emit(f"mul i64 {i}, %ra")), w.at(to, w.emit(f"mul i64 {i}, {row_bytes}"))
        some = w.minimum(w.emit(f"sub i64 {stop}, {i}"), str(height))
        arguments = f"i64 {steps}, ptr {source}, i64 %ra, i64 %ka, ptr {target}, i64 {height}, i64 {some}"
        w.lines.append(f"  call void @pack.rows({arguments})")
        close_rows()
    close_chunks()
    w.branch("packed")
    w.label("packed")
    left_rows = w.emit(f"select i1 %packs, ptr {packed_rows}, ptr {a}")
    left_step = w.emit(f"select i1 %packs, i64 {row_bytes}, i64 %ra")
    rest = w.emit(f"urem i64 %n, {full_width}")
    few_left = w.emit(f"icmp ule i64 {rest}, {2 * tiles.lanes}")
    wide_end = w.emit(f"select i1 {few_left}, i64 {w.emit(f'sub i64 %n, {rest}')}, i64 %n")
    for width, first, last in ((tiles.width, "0", wide_end), (1, wide_end, "%n")):
        columns = width * tiles.lanes
        j, close_panels = w.open(first, last, str(columns))
        valid = w.minimum(w.emit(f"sub i64 %n, {j}"), str(columns))
        panel, right, right_step = w.at(b, w.emit(f"mul i64 {j}, %cb")), "%ws", str(columns * size)
        name = w.fresh("panel")
        unpacked = w.emit(f"and i1 {direct}, {w.emit(f'icmp eq i64 {valid}, {full_width}')}")
        w.lines.append(f"  br i1 {unpacked}, label %{name}.use, label %{name}.pack")
        w.label(f"{name}.pack")
        w.lines.append(f"  br i1 {side_by_side}, label %{name}.whole, label %{name}.apart")
        w.label(f"{name}.whole")
        w.lines.append(f"  call void @pack.panel.{width}(i64 {k}, ptr {panel}, i64 %kb, ptr %ws, i64 {valid})")
        w.branch(f"{name}.use")
        w.label(f"{name}.apart")
        q, close_packing = w.open("0", str(columns), str(tiles.packed))
        source, target = w.at(panel, w.emit(f"mul i64 %cb, {q}")), w.at("%ws", w.emit(f"mul i64 {q}, {size}"))
        left = w.emit(f"call i64 @llvm.smax.i64(i64 {w.emit(f'sub i64 {valid}, {q}')}, i64 0)")
        some = w.minimum(left, str(tiles.packed))
        arguments = f"i64 {k}, ptr {source}, i64 %kb, i64 %cb, ptr {target}, i64 {columns * size}, i64 {some}"
        w.lines.append(f"  call void @pack.columns({arguments})")
        close_packing()
        w.branch(f"{name}.use")
        w.label(f"{name}.use")
        right = w.emit(f"select i1 {unpacked}, ptr {panel}, ptr {right}")
        right_step = w.emit(f"select i1 {unpacked}, i64 %kb, i64 {right_step}")
        out = w.at(c, w.emit(f"mul i64 {j}, {size}"))
        across = w.emit(f"select i1 %packs, i64 {size}, i64 %ra")
        for height, start, stop in bands:
            left = w.at(left_rows, w.emit(f"mul i64 {start}, {left_step}"))
            along = w.emit(f"select i1 %packs, i64 {height * size}, i64 %ka")
            apart = w.emit(f"mul i64 {left_step}, {height}")
            at_once = 2 if (height, width) == (tall, 1) else 1
            down = w.emit(f"mul i64 {apart}, {at_once}")
            target = w.at(out, w.emit(f"mul i64 {start}, %rc"))
            rows = w.emit(f"sub i64 {stop}, {start}")
            found = w.emit(
                f"call i1 @tile.{height if width > 1 else 2 * tall}.{width}"
                f"(i64 {k}, ptr {left}, i64 {across}, i64 {along}, i64 {down}, i64 {apart}, ptr {right}, "
                f"i64 {right_step}, ptr {target}, i64 %rc, i1 {more}, i64 {valid}, i64 {rows}, i64 {height * at_once})"
            )
            known = w.emit("load i8, ptr %nan")
            word = w.emit(f"or i8 {known}, {w.emit(f'zext i1 {found} to i8')}")
            w.lines.append(f"  store i8 {word}, ptr %nan")
        close_panels()
    close_blocks()
    close()
    last_word = w.emit("load i8, ptr %nan")
    w.lines.append(f"  ret i1 {w.emit(f'trunc i8 {last_word} to i1')}")
    return w.function(f"internal i1 @product({PRODUCT_ARGUMENTS})")
