"""Layout: the numbers that a kernel needs for arrays of given sizes, and its workspace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

import numpy as np

from gradloom.memory import whole_lines
from gradloom.symbolic import compute
from gradloom_llvm.function import Parameter
from gradloom_llvm.loops import Loops

#: What one block of rows may take of the cache, in bytes.
BLOCK_BYTES = 64 * 1024
#: The same where products of matrices read it several times: a part of the second cache.
TILED_BLOCK_BYTES = 1024 * 1024
#: Rows of a block, at most and at least.
MAX_BLOCK = 2048
MIN_BLOCK = 16
#: Points of the loops that one chunk of rows has, roughly: a chunk is what a thread takes at once.
CHUNK_POINTS = 32 * 1024
#: For each element that a chunk reduces over its rows, points it has at least, as long as there are some chunks.
WIDE = 64
SOME_CHUNKS = 16


@final
class Layout:
    """Numbers in the order of a kernel's parameters, the bytes of its workspaces, and how many chunks it has."""

    __slots__ = ("block", "chunks", "numbers", "workspace")

    def __init__(self, numbers: tuple[int, ...], workspace: int, block: int, chunks: int) -> None:
        self.numbers = numbers
        self.workspace = workspace
        self.block = block
        self.chunks = chunks


def lay_out(loops: Loops, parameters: Sequence[Parameter]) -> Layout:
    """Return the layout of a kernel's loops.

    Parameters
    ----------
    loops : Loops
    parameters : sequence
        What the kernel's code asks for.
    """
    return _Layout(loops).layout(parameters)


@final
class _Layout:
    def __init__(self, loops: Loops) -> None:
        self.loops = loops
        self.rows = 1 if loops.row is None else loops.lengths[loops.row]
        self.block = self._block_rows()
        self.chunk = self._chunk_rows()
        self.chunks = compute(_quotient, self.rows, self.chunk)
        self.offsets: dict[tuple[str, int], int] = {}
        self.sizes = {"workspace": 0, "block": 0}
        for i, place in loops.places.items():
            if loops.is_row_sum(i):
                self._reserve("workspace", "partial", i, self.chunks * self._width(i))
            if place == "workspace" and i not in loops.overwritten:
                self._reserve("workspace", "offset", i, loops.points(loops.values[i].labels))
            elif place == "block":
                self._reserve("block", "offset", i, self._width(i) * self.block)

    def layout(self, parameters: Sequence[Parameter]) -> Layout:
        numbers = tuple([self._number(*p) for p in parameters])
        return Layout(numbers, self.sizes["workspace"], self.sizes["block"], self.chunks)

    def _row_phases(self) -> list[Any]:
        return [phase for phase in self.loops.phases if phase.row]

    def _block_rows(self) -> int:
        loops = self.loops
        touched = set()
        for phase in self._row_phases():
            for nest in phase.nests:
                for s in nest.statements:
                    touched |= {s.id, *s.inputs} & loops.values.keys()
        budget = BLOCK_BYTES
        if loops.tiles:
            budget = TILED_BLOCK_BYTES
            touched = {i for i in touched if loops.places[i] != "register"}
        row_bytes = sum([loops.values[i].dtype.itemsize * self._width(i) for i in touched if self._has_rows(i)])
        rows: int = compute(_block_rows, budget, row_bytes)
        return rows

    def _chunk_rows(self) -> int:
        points = [self.loops.points(nest.loop) for phase in self._row_phases() for nest in phase.nests]
        reduced = sum([self._width(i) for i in self.loops.places if self.loops.is_row_sum(i)])
        rows: int = compute(_chunk_rows, self.rows, self.block, reduced, *dict.fromkeys(points))
        return rows

    def _has_rows(self, i: int) -> bool:
        return self.loops.row in self.loops.values[i].labels

    def _width(self, i: int) -> int:
        """Return how many elements of a value one row has."""
        return self.loops.points([a for a in self.loops.values[i].labels if a != self.loops.row])

    def _reserve(self, area: str, word: str, i: int, elements: int) -> None:
        self.offsets[word, i] = self.sizes[area]
        self.sizes[area] += compute(_lines, elements, self.loops.values[i].dtype.itemsize)

    def _number(self, word: str, *key: Any) -> Any:
        if word == "literal":
            return compute(_bits, *self.loops.literals[key[0]])
        if word == "chunks":
            return self.chunks
        if word in ("rows", "chunk", "block"):
            return getattr(self, word)
        if word == "size":
            return self.loops.lengths[key[0]]
        if word == "width":
            return self._width(*key)
        if word == "stride":
            return self._stride(*key)
        return self.offsets[word, key[0]]

    def _stride(self, i: int, label: int) -> int:
        loops = self.loops
        if (i, label) in loops.steps:
            return loops.steps[i, label]
        labels = loops.values[i].labels
        in_block = loops.places[i] == "block"
        step = 1
        for other in labels[labels.index(label) + 1 :]:
            step *= self.block if in_block and other == loops.row else loops.lengths[other]
        return step


def _quotient(rows: int, chunk: int) -> int:
    """Return how many chunks some rows have."""
    return -(-rows // chunk)


def _lines(elements: int, itemsize: int) -> int:
    """Return the bytes of some elements, as whole cache lines."""
    return whole_lines(elements * itemsize)


def _block_rows(budget: int, row_bytes: int) -> int:
    """Return the rows of a block that may take some bytes."""
    rows = budget // max(row_bytes, 1) // MIN_BLOCK * MIN_BLOCK
    return max(MIN_BLOCK, min(rows, MAX_BLOCK))


def _chunk_rows(rows: int, block: int, reduced: int, *points: int) -> int:
    """Return the rows of a chunk, given those of a block, what a row reduces, and the points of each loop over rows."""
    points_of_row = max(points, default=rows) // rows
    wanted = max(CHUNK_POINTS, min(WIDE * reduced, points_of_row * rows // SOME_CHUNKS))
    return block * max(1, wanted // (points_of_row * block))


def _bits(value: Any, dtype: np.dtype[Any]) -> int:
    """Return the bits of a literal."""
    return int(np.float64(dtype.type(value)).view(np.int64) if dtype.kind == "f" else dtype.type(value))
