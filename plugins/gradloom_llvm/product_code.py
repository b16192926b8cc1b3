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
from gradloom_llvm.product_entries import entries
from gradloom_llvm.product_loops import product
from gradloom_llvm.product_packing import pack_columns, pack_panel, pack_rows
from gradloom_llvm.product_tiles import Tiles, tile


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
    return "\n".join([_DECLARATIONS, *declared, product(tiles), *entries(tiles, number)])


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
