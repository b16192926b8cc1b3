"""The loops of a whole product of matrices: stretches of the summed axis, blocks of rows, and panels; as IR text."""

from __future__ import annotations

from typing import Final, final

from gradloom_llvm.product_entries import PRODUCT_ARGUMENTS
from gradloom_llvm.product_tiles import Tiles, Writer

#: Up to so many rows panels are not packed, where the columns of ``b`` are contiguous.
UNPACKED_ROWS: Final = 32
#: Rows of the left matrix, at least, that all panels are multiplied with before the next, which finds them in the
#: cache; as panels are packed each time, it pays for rows of so few bytes alone.
BLOCK_ROWS: Final = 240
SHORT_ROW: Final = 512
#: Steps of the summed axis whose rows are packed at a time: the lines that neighbouring tiles lie on are still there.
CHUNK: Final = 32


def product(tiles: Tiles) -> str:
    """Write the function of a whole product; strides are in bytes, ``%ws`` is aligned to 64 of them."""
    return _Product(tiles).function()


@final
class _Block:
    """Rows of the left matrix that are multiplied before the next, along a stretch of the summed axis.

    Attributes
    ----------
    k, more : str
        Steps along the summed axis, and whether there were others before.
    a, b, c : str
        Where the block begins in each matrix.
    bands : tuple of (int, str, str)
        Tiles of some height, from a row to a row: tall ones, and low ones for what they leave over.
    row_bytes : str
        The bytes of a row in the workspace.
    """

    __slots__ = ("a", "b", "bands", "c", "k", "more", "row_bytes")

    def __init__(
        self, k: str, more: str, a: str, b: str, c: str, bands: tuple[tuple[int, str, str], ...], row_bytes: str
    ) -> None:
        self.k, self.more = k, more
        self.a, self.b, self.c = a, b, c
        self.bands = bands
        self.row_bytes = row_bytes


@final
class _Product:
    """The function of a whole product, while it is written."""

    __slots__ = ("columns", "direct", "packed_rows", "side_by_side", "size", "tiles", "w")

    def __init__(self, tiles: Tiles) -> None:
        self.tiles, self.w = tiles, Writer(tiles)
        self.size, self.columns = tiles.itemsize, tiles.width * tiles.lanes
        self.side_by_side = self.direct = self.packed_rows = ""

    def function(self) -> str:
        """Return the text."""
        w, size = self.w, self.size
        w.lines += ["  %nan = alloca i8", "  store i8 0, ptr %nan"]
        few = w.emit(f"icmp sle i64 %m, {UNPACKED_ROWS}")
        self.side_by_side = w.emit(f"icmp eq i64 %cb, {size}")
        self.direct = w.emit(f"and i1 {few}, {self.side_by_side}")
        self.packed_rows = w.at("%ws", w.emit(f"mul i64 {w.minimum('%k', '%stretch')}, {self.columns * size}"))
        rows = self._rows_of_a_block()
        k0, close = w.open("0", "%k", "%stretch")
        k = w.minimum(w.emit(f"sub i64 %k, {k0}"), "%stretch")
        more = w.emit(f"icmp ne i64 {k0}, 0")
        b, row_bytes = w.at("%b", w.emit(f"mul i64 {k0}, %kb")), w.emit(f"mul i64 {k}, {size}")
        i0, close_blocks = w.open("0", "%m", rows)
        m = w.minimum(w.emit(f"sub i64 %m, {i0}"), rows)
        a = w.at(w.at("%a", w.emit(f"mul i64 {k0}, %ka")), w.emit(f"mul i64 {i0}, %ra"))
        c = w.at("%c", w.emit(f"mul i64 {i0}, %rc"))
        tall, low = self.tiles.heights
        tall_end = w.emit(f"sub i64 {m}, {w.emit(f'urem i64 {m}, {tall}')}")
        self._block(_Block(k, more, a, b, c, ((tall, "0", tall_end), (low, tall_end, m)), row_bytes))
        close_blocks()
        close()
        last_word = w.emit("load i8, ptr %nan")
        w.lines.append(f"  ret i1 {w.emit(f'trunc i8 {last_word} to i1')}")
        return w.function(f"internal i1 @product({PRODUCT_ARGUMENTS})")

    def _rows_of_a_block(self) -> str:
        """Return how many rows are multiplied before the next, in even shares; only the last may end within a tile."""
        w, tall = self.w, self.tiles.heights[0]
        short = w.emit(f"icmp ule i64 {w.emit(f'mul i64 %k, {self.size}')}, {SHORT_ROW}")
        several = w.emit(f"select i1 {short}, i64 {w.emit(f'udiv i64 %m, {BLOCK_ROWS}')}, i64 1")
        unit = w.emit(f"mul i64 {w.emit(f'call i64 @llvm.smax.i64(i64 {several}, i64 1)')}, {tall}")
        beyond = w.emit(f"sub i64 {w.emit(f'add i64 %m, {unit}')}, 1")
        return w.emit(f"mul i64 {w.emit(f'udiv i64 {beyond}, {unit}')}, {tall}")

    def _block(self, block: _Block) -> None:
        """Multiply a block with all panels: wide ones, and ones of a vector where one or two vectors are left over."""
        w = self.w
        self._pack_rows(block)
        rows = w.emit(f"select i1 %packs, ptr {self.packed_rows}, ptr {block.a}")
        row_step = w.emit(f"select i1 %packs, i64 {block.row_bytes}, i64 %ra")
        rest = w.emit(f"urem i64 %n, {self.columns}")
        few_left = w.emit(f"icmp ule i64 {rest}, {2 * self.tiles.lanes}")
        wide_end = w.emit(f"select i1 {few_left}, i64 {w.emit(f'sub i64 %n, {rest}')}, i64 %n")
        for width, first, last in ((self.tiles.width, "0", wide_end), (1, wide_end, "%n")):
            self._panels(block, rows, row_step, width, first, last)

    def _pack_rows(self, block: _Block) -> None:
        """Pack the rows of a block, where that pays."""
        w, size = self.w, self.size
        w.lines.append("  br i1 %packs, label %pack, label %packed")
        w.label("pack")
        q, close_chunks = w.open("0", block.k, str(CHUNK))
        steps = w.minimum(w.emit(f"sub i64 {block.k}, {q}"), str(CHUNK))
        first = w.at(block.a, w.emit(f"mul i64 {q}, %ka"))
        for height, start, stop in block.bands:
            to = w.at(self.packed_rows, w.emit(f"mul i64 {q}, {height * size}"))
            i, close_rows = w.open(start, stop, str(height))
            source = w.at(first, w.emit(f"mul i64 {i}, %ra"))
            target = w.at(to, w.emit(f"mul i64 {i}, {block.row_bytes}"))
            some = w.minimum(w.emit(f"sub i64 {stop}, {i}"), str(height))
            arguments = f"i64 {steps}, ptr {source}, i64 %ra, i64 %ka, ptr {target}, i64 {height}, i64 {some}"
            w.lines.append(f"  call void @pack.rows({arguments})")
            close_rows()
        close_chunks()
        w.branch("packed")
        w.label("packed")

    def _panels(self, block: _Block, rows: str, row_step: str, width: int, first: str, last: str) -> None:
        """Multiply the rows of a block, which lie some bytes apart, with the panels from a column to a column."""
        w, tall = self.w, self.tiles.heights[0]
        columns = width * self.tiles.lanes
        j, close = w.open(first, last, str(columns))
        valid = w.minimum(w.emit(f"sub i64 %n, {j}"), str(columns))
        panel = w.at(block.b, w.emit(f"mul i64 {j}, %cb"))
        right, right_step = self._packed_panel(block.k, panel, valid, width)
        out = w.at(block.c, w.emit(f"mul i64 {j}, {self.size}"))
        across = w.emit(f"select i1 %packs, i64 {self.size}, i64 %ra")
        for height, start, stop in block.bands:
            left = w.at(rows, w.emit(f"mul i64 {start}, {row_step}"))
            along = w.emit(f"select i1 %packs, i64 {height * self.size}, i64 %ka")
            apart = w.emit(f"mul i64 {row_step}, {height}")
            # Narrow tiles take two tall ones at once, as one sum waits for the one before.
            at_once = 2 if (height, width) == (tall, 1) else 1
            down = w.emit(f"mul i64 {apart}, {at_once}")
            target = w.at(out, w.emit(f"mul i64 {start}, %rc"))
            count = w.emit(f"sub i64 {stop}, {start}")
            found = w.emit(
                f"call i1 @tile.{height if width > 1 else 2 * tall}.{width}"
                f"(i64 {block.k}, ptr {left}, i64 {across}, i64 {along}, i64 {down}, i64 {apart}, ptr {right}, "
                f"i64 {right_step}, ptr {target}, i64 %rc, i1 {block.more}, i64 {valid}, i64 {count}, "
                f"i64 {height * at_once})"
            )
            known = w.emit("load i8, ptr %nan")
            word = w.emit(f"or i8 {known}, {w.emit(f'zext i1 {found} to i8')}")
            w.lines.append(f"  store i8 {word}, ptr %nan")
        close()

    def _packed_panel(self, k: str, panel: str, valid: str, width: int) -> tuple[str, str]:
        """Pack a panel, unless it can be read where it is; return where it stands, and how far its steps are apart."""
        w, columns = self.w, width * self.tiles.lanes
        name = w.fresh("panel")
        unpacked = w.emit(f"and i1 {self.direct}, {w.emit(f'icmp eq i64 {valid}, {self.columns}')}")
        w.lines.append(f"  br i1 {unpacked}, label %{name}.use, label %{name}.pack")
        w.label(f"{name}.pack")
        w.lines.append(f"  br i1 {self.side_by_side}, label %{name}.whole, label %{name}.apart")
        w.label(f"{name}.whole")
        w.lines.append(f"  call void @pack.panel.{width}(i64 {k}, ptr {panel}, i64 %kb, ptr %ws, i64 {valid})")
        w.branch(f"{name}.use")
        w.label(f"{name}.apart")
        self._pack_columns(k, panel, valid, columns)
        w.branch(f"{name}.use")
        w.label(f"{name}.use")
        right = w.emit(f"select i1 {unpacked}, ptr {panel}, ptr %ws")
        return right, w.emit(f"select i1 {unpacked}, i64 %kb, i64 {columns * self.size}")

    def _pack_columns(self, k: str, panel: str, valid: str, columns: int) -> None:
        """Pack a panel whose columns lie apart, some at a time."""
        w, some_columns = self.w, self.tiles.packed
        q, close = w.open("0", str(columns), str(some_columns))
        source, target = w.at(panel, w.emit(f"mul i64 %cb, {q}")), w.at("%ws", w.emit(f"mul i64 {q}, {self.size}"))
        left = w.emit(f"call i64 @llvm.smax.i64(i64 {w.emit(f'sub i64 {valid}, {q}')}, i64 0)")
        some = w.minimum(left, str(some_columns))
        arguments = f"i64 {k}, ptr {source}, i64 %kb, i64 %cb, ptr {target}, i64 {columns * self.size}, i64 {some}"
        w.lines.append(f"  call void @pack.columns({arguments})")
        close()
