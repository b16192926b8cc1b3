"""Products of matrices: native code that multiplies, for the sizes and layouts that programs have.

One call computes ``out = a @ b`` for matrices of float32 or float64. Each element of the result is one chain
of multiply-adds along the summed axis, in order, so its bits depend on its row and its column alone: however
a product is cut, and whatever the strides are, they stay the same.

Columns are taken in panels of a few vectors. A panel of ``b`` is packed (copied so that the loads that follow
are contiguous); rows of ``a`` are taken in tiles whose results stay in registers, and read as they stand. Where
neighbours along the summed axis lie apart in memory, or rows whole pages apart, so that they compete for one place in
the cache, ``a`` is packed too. With few columns that does not pay: then short stretches of the summed axis are worked
off at a time, so that the lines of the cache that one tile reads are still there for the next.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import numpy as np

from gradloom_llvm.engine import Library, load
from gradloom_llvm.entry import builtin, opening, prelude
from gradloom_llvm.product_tiles import Tiles, Writer, pack_columns, pack_rows, tile
from gradloom_llvm.text import Struct

#: Up to so many rows panels are not packed, where the columns of ``b`` are contiguous.
UNPACKED_ROWS: Final = 64
#: Panels from which on packing rows pays.
WIDE_PANELS: Final = 4
#: Bytes of one column of a packed panel where rows that lie apart are read as they stand.
SHORT: Final = 1024
#: Multiply-adds from which on other Python threads run meanwhile.
RELEASE: Final = 1_000_000


@cache
def multiply(dtype: np.dtype[Any], tiles: Tiles) -> Callable[..., bool]:
    """Return the builtin ``multiply(a, b, out, workspace)`` of a dtype.

    It writes ``a @ b`` into ``out``, whose rows are contiguous, and returns whether the result holds a NaN.
    ``workspace`` is a one-dimensional array of uint8. TypeError says that an argument does not fit.
    """
    return builtin(_library(dtype, tiles), "multiply")


@cache
def multiply_together(dtype: np.dtype[Any], tiles: Tiles) -> Callable[..., bool]:
    """Return the builtin ``multiply_together(a, b, out, workspace, mailbox, workers)``: the same by a team.

    ``workers`` is an array of int64: how many threads, and the bytes of workspace that each has.
    """
    return builtin(_library(dtype, tiles), "multiply_together")


@cache
def _library(dtype: np.dtype[Any], tiles: Tiles) -> Library:
    return load(prelude() + source(tiles, dtype.num))


def source(tiles: Tiles, number: int) -> str:
    """Return the IR of the builtin for a dtype of some number."""
    parts = [_DECLARATIONS.replace("VECTOR", tiles.vector)]
    parts[0] = parts[0].replace("NAME", f"v{tiles.lanes}f{8 * tiles.itemsize}").replace("LANES", str(tiles.lanes))
    parts += [tile(tiles, height, width) for height in tiles.heights for width in (tiles.width, 1)]
    parts += [pack_rows(tiles), pack_columns(tiles), _product(tiles), *_entries(tiles, number)]
    return "\n".join(parts)


_DECLARATIONS = """
declare i64 @llvm.smax.i64(i64, i64)
declare i64 @llvm.smin.i64(i64, i64)
declare VECTOR @llvm.fma.NAME(VECTOR, VECTOR, VECTOR)
declare VECTOR @llvm.masked.load.NAME.p0(ptr, i32, <LANES x i1>, VECTOR)
declare void @llvm.masked.store.NAME.p0(VECTOR, ptr, i32, <LANES x i1>)
@_Py_TrueStruct = external global i8
@_Py_FalseStruct = external global i8
@gradloom.misfit = private constant [28 x i8] c"a matrix does not fit here.\\00"
"""


#: Of functions that only call others: they need not be optimised, which takes LLVM longer than the others together.
_CALLS: Final = "noinline optnone"
_PRODUCT_ARGUMENTS: Final = (
    "ptr %a, i64 %ra, i64 %ka, ptr %b, i64 %kb, i64 %cb, ptr %c, i64 %rc, i64 %m, i64 %k, i64 %n, "
    "ptr %ws, i1 %packs, i64 %stretch"
)


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
    ends = ["0"]
    for height in tiles.heights:
        left = w.emit(f"sub i64 %m, {ends[-1]}")
        ends.append(w.emit(f"sub i64 %m, {w.emit(f'urem i64 {left}, {height}')}"))
    k0, close = w.open("0", "%k", "%stretch")
    k = w.minimum(w.emit(f"sub i64 %k, {k0}"), "%stretch")
    more = w.emit(f"icmp ne i64 {k0}, 0")
    a, b = w.at("%a", w.emit(f"mul i64 {k0}, %ka")), w.at("%b", w.emit(f"mul i64 {k0}, %kb"))
    row_bytes = w.emit(f"mul i64 {k}, {size}")
    w.lines.append("  br i1 %packs, label %pack, label %packed")
    w.label("pack")
    for height, start, stop in zip(tiles.heights, ends[:-1], ends[1:], strict=True):
        i, close_rows = w.open(start, stop, str(height))
        source, target = w.at(a, w.emit(f"mul i64 {i}, %ra")), w.at(packed_rows, w.emit(f"mul i64 {i}, {row_bytes}"))
        arguments = f"i64 {k}, ptr {source}, i64 %ra, i64 %ka, ptr {target}, i64 {height}"
        w.lines.append(f"  call void @pack.rows({arguments})")
        close_rows()
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
        out = w.at("%c", w.emit(f"mul i64 {j}, {size}"))
        for height, start, stop in zip(tiles.heights, ends[:-1], ends[1:], strict=True):
            i, close_rows = w.open(start, stop, str(height))
            left = w.at(left_rows, w.emit(f"mul i64 {i}, {left_step}"))
            across = w.emit(f"select i1 %packs, i64 {size}, i64 %ra")
            along = w.emit(f"select i1 %packs, i64 {height * size}, i64 %ka")
            target = w.at(out, w.emit(f"mul i64 {i}, %rc"))
            found = w.emit(
                f"call i1 @tile.{height}.{width}(i64 {k}, ptr {left}, i64 {across}, i64 {along}, "
                f"ptr {right}, i64 {right_step}, ptr {target}, i64 %rc, i1 {more}, i64 {valid})"
            )
            known = w.emit("load i8, ptr %nan")
            word = w.emit(f"or i8 {known}, {w.emit(f'zext i1 {found} to i8')}")
            w.lines.append(f"  store i8 {word}, ptr %nan")
            close_rows()
        close_panels()
    close()
    last_word = w.emit("load i8, ptr %nan")
    w.lines.append(f"  ret i1 {w.emit(f'trunc i8 {last_word} to i1')}")
    return w.function(f"i1 @product({_PRODUCT_ARGUMENTS})", _CALLS)


def _entries(tiles: Tiles, number: int) -> list[str]:
    """Write the builtins, which check their arguments, and the function of a piece."""
    panel = tiles.width * tiles.lanes
    words = {"NUMBER": number, "BYTE": np.dtype(np.uint8).num, "WORD": np.dtype(np.int64).num}
    words |= {"SIZE": tiles.itemsize, "STRETCH": tiles.stretch, "SHORT": SHORT // tiles.itemsize}
    words |= {"TWO_PANELS": 2 * panel, "PANEL": panel, "HEIGHT": tiles.heights[0]}
    words |= {"WIDE": WIDE_PANELS * panel, "RELEASE": RELEASE}
    # A piece has its own share of these; of the rest it takes the whole.
    cut = ("a", "b", "c", "m", "n", "ws")
    same = [field for field in _JOB.kinds if field not in cut]
    texts = [
        opening("multiply", 4) + _CHECKED + _ALONE + _ANSWER,
        _JOB.definition(),
        opening("multiply_together", 6) + _CHECKED + _TOGETHER.replace("STORE.JOB", _JOB.store("%job")) + _ANSWER,
        _PIECE.replace("LOAD.JOB", f"{_JOB.load('%job', cut, 'whole.')}\n{_JOB.load('%job', same)}"),
    ]
    for word, value in words.items():
        texts = [text.replace(word, str(value)) for text in texts]
    return [text.replace("ARGUMENTS", _PRODUCT_ARGUMENTS) for text in texts]


#: A product that several threads share. ``unit`` rows or columns are not cut; ``each`` thread has so much workspace.
_JOB: Final = Struct(
    "Job",
    "ptr a, i64 ra, i64 ka, ptr b, i64 kb, i64 cb, ptr c, i64 rc, "
    "i64 m, i64 k, i64 n, ptr ws, i1 packs, i64 stretch, i1 by.rows, "
    "i64 unit, i64 units, i64 pieces, i64 each, ptr found",
)

#: 256 asks for aligned arrays, 1024 for writeable ones, 1 for contiguous ones.
_CHECKED = """
  %fits.a = call i1 @is_array(ptr %arg0, i32 NUMBER, i32 2, i32 256)
  %fits.b = call i1 @is_array(ptr %arg1, i32 NUMBER, i32 2, i32 256)
  %fits.c = call i1 @is_array(ptr %arg2, i32 NUMBER, i32 2, i32 1280)
  %fits.ws = call i1 @is_array(ptr %arg3, i32 BYTE, i32 1, i32 1281)
  %fits.ab = and i1 %fits.a, %fits.b
  %fits.cws = and i1 %fits.c, %fits.ws
  %arrays = and i1 %fits.ab, %fits.cws
  br i1 %arrays, label %sizes, label %misfit
sizes:
  %m = call i64 @array_size(ptr %arg0, i64 0)
  %k = call i64 @array_size(ptr %arg0, i64 1)
  %n = call i64 @array_size(ptr %arg1, i64 1)
  %its.k = call i64 @array_size(ptr %arg1, i64 0)
  %its.m = call i64 @array_size(ptr %arg2, i64 0)
  %its.n = call i64 @array_size(ptr %arg2, i64 1)
  %ra = call i64 @array_stride(ptr %arg0, i64 0)
  %ka = call i64 @array_stride(ptr %arg0, i64 1)
  %kb = call i64 @array_stride(ptr %arg1, i64 0)
  %cb = call i64 @array_stride(ptr %arg1, i64 1)
  %rc = call i64 @array_stride(ptr %arg2, i64 0)
  %cc = call i64 @array_stride(ptr %arg2, i64 1)
  %room = call i64 @array_size(ptr %arg3, i64 0)
  %same.k = icmp eq i64 %k, %its.k
  %same.m = icmp eq i64 %m, %its.m
  %same.n = icmp eq i64 %n, %its.n
  %rows.whole = icmp eq i64 %cc, SIZE
  %mk = mul i64 %m, %k
  %work = mul i64 %mk, %n
  %any = icmp sgt i64 %work, 0
  %long = icmp ugt i64 %k, STRETCH
  %longest = select i1 %long, i64 STRETCH, i64 %k
  %length = mul i64 %longest, SIZE
  %columns = add i64 %m, PANEL
  %bytes = mul i64 %length, %columns
  %bytes.more = add i64 %bytes, 127
  %needed = and i64 %bytes.more, -64
  %roomy = icmp uge i64 %room, %needed
  %apart = icmp ne i64 %ka, SIZE
  %rest = and i64 %ra, 4095
  %pages = icmp eq i64 %rest, 0
  %wide = icmp sge i64 %n, WIDE
  %far = or i1 %apart, %pages
  %packs = and i1 %far, %wide
  %as.it.stands = xor i1 %packs, true
  %scattered = and i1 %apart, %as.it.stands
  %stretch = select i1 %scattered, i64 SHORT, i64 STRETCH
  %same.km = and i1 %same.k, %same.m
  %same.nw = and i1 %same.n, %rows.whole
  %some = and i1 %any, %roomy
  %same = and i1 %same.km, %same.nw
  %fits = and i1 %same, %some
  br i1 %fits, label %run, label %misfit
run:
  %a = call ptr @array_data(ptr %arg0)
  %b = call ptr @array_data(ptr %arg1)
  %c = call ptr @array_data(ptr %arg2)
  %space = call ptr @array_data(ptr %arg3)
  %space.word = ptrtoint ptr %space to i64
  %space.up = add i64 %space.word, 63
  %space.aligned = and i64 %space.up, -64
  %ws = inttoptr i64 %space.aligned to ptr
"""

_ALONE = """
  %large = icmp uge i64 %work, RELEASE
  %state = call ptr @release_gil(i1 %large)
  %nan = call i1 @product(ARGUMENTS)
"""

#: Pieces are rows where rows are packed, so that none is packed twice, or columns are few; columns otherwise.
_TOGETHER = """
  %fits.mailbox = call i1 @is_array(ptr %arg4, i32 WORD, i32 1, i32 1281)
  %fits.workers = call i1 @is_array(ptr %arg5, i32 WORD, i32 1, i32 257)
  %fits.team = and i1 %fits.mailbox, %fits.workers
  br i1 %fits.team, label %team, label %misfit
team:
  %mailbox = call ptr @array_data(ptr %arg4)
  %run.job = load ptr, ptr %mailbox
  %words = call ptr @array_data(ptr %arg5)
  %workers = load i64, ptr %words
  %bytes.place = getelementptr i64, ptr %words, i64 1
  %each = load i64, ptr %bytes.place
  %together = mul i64 %workers, %each
  %in.all = icmp uge i64 %room, %together
  %in.each = icmp uge i64 %each, %needed
  %beyond.lines = and i64 %each, 63
  %whole.lines = icmp eq i64 %beyond.lines, 0
  %large.enough = and i1 %in.all, %in.each
  %enough = and i1 %large.enough, %whole.lines
  br i1 %enough, label %cut, label %misfit
cut:
  %few = icmp slt i64 %n, TWO_PANELS
  %by.rows = or i1 %apart, %few
  %unit = select i1 %by.rows, i64 HEIGHT, i64 PANEL
  %whole.length = select i1 %by.rows, i64 %m, i64 %n
  %longer = add i64 %whole.length, %unit
  %longest.up = sub i64 %longer, 1
  %units = udiv i64 %longest.up, %unit
  %each.takes = select i1 %by.rows, i64 2, i64 4
  %wanted = mul i64 %each.takes, %workers
  %pieces = call i64 @llvm.smin.i64(i64 %units, i64 %wanted)
  %found = alloca i64
  store i64 0, ptr %found
  %job = alloca %Job
STORE.JOB
  %state = call ptr @release_gil(i1 true)
  call void %run.job(ptr %mailbox, ptr @piece, ptr %job, i64 %pieces, i64 %workers)
  %nans = load i64, ptr %found
  %nan = icmp ne i64 %nans, 0
"""

_ANSWER = """
  call void @take_gil(ptr %state)
  %answer = select i1 %nan, ptr @_Py_TrueStruct, ptr @_Py_FalseStruct
  call void @Py_IncRef(ptr %answer)
  ret ptr %answer
misfit:
  %null = call ptr @raise_type_error(ptr @gradloom.misfit)
  ret ptr %null
}
"""

_PIECE = """
define internal void @piece(ptr %job, i64 %number, i64 %worker) nounwind {
LOAD.JOB
  %following = add i64 %number, 1
  %x = mul i64 %units, %number
  %y = mul i64 %units, %following
  %first.unit = udiv i64 %x, %pieces
  %last.unit = udiv i64 %y, %pieces
  %first = mul i64 %first.unit, %unit
  %beyond = mul i64 %last.unit, %unit
  %length = select i1 %by.rows, i64 %whole.m, i64 %whole.n
  %last = call i64 @llvm.smin.i64(i64 %beyond, i64 %length)
  %count = sub i64 %last, %first
  %across.a = select i1 %by.rows, i64 %ra, i64 0
  %across.b = select i1 %by.rows, i64 0, i64 %cb
  %across.c = select i1 %by.rows, i64 %rc, i64 SIZE
  %offset.a = mul i64 %first, %across.a
  %offset.b = mul i64 %first, %across.b
  %offset.c = mul i64 %first, %across.c
  %offset.ws = mul i64 %each, %worker
  %a = getelementptr i8, ptr %whole.a, i64 %offset.a
  %b = getelementptr i8, ptr %whole.b, i64 %offset.b
  %c = getelementptr i8, ptr %whole.c, i64 %offset.c
  %ws = getelementptr i8, ptr %whole.ws, i64 %offset.ws
  %m = select i1 %by.rows, i64 %count, i64 %whole.m
  %n = select i1 %by.rows, i64 %whole.n, i64 %count
  %nan = call i1 @product(ARGUMENTS)
  br i1 %nan, label %tell, label %end
tell:
  %before = atomicrmw or ptr %found, i64 1 monotonic
  br label %end
end:
  ret void
}
"""
