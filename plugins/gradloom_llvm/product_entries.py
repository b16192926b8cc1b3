"""The builtins of products: they check their arguments, and cut the work into pieces; as IR text."""

from __future__ import annotations

from typing import Final

import numpy as np

from gradloom_llvm.entry import opening
from gradloom_llvm.product_tiles import Tiles
from gradloom_llvm.text import Struct

#: Panels from which on packing rows pays.
WIDE_PANELS: Final = 4
#: Bytes of one column of a packed panel where rows that lie apart are read as they stand.
SHORT: Final = 1024
#: Multiply-adds from which on other Python threads run meanwhile.
RELEASE: Final = 1_000_000
#: Leading axes of a stack, at most.
MOST_AXES: Final = 8
PRODUCT_ARGUMENTS: Final = (
    "ptr %a, i64 %ra, i64 %ka, ptr %b, i64 %kb, i64 %cb, ptr %c, i64 %rc, i64 %m, i64 %k, i64 %n, "
    "ptr %ws, i1 %packs, i64 %stretch"
)


def entries(tiles: Tiles, number: int) -> list[str]:
    """Write the builtins for a dtype of some number, what reads their arguments, and the function of a piece."""
    panel = tiles.width * tiles.lanes
    words = {"NUMBER": number, "BYTE": np.dtype(np.uint8).num, "WORD": np.dtype(np.int64).num}
    words |= {"SIZE": tiles.itemsize, "STRETCH": tiles.stretch, "SHORT": SHORT // tiles.itemsize}
    words |= {"TWO_PANELS": 2 * panel, "PANEL": panel, "COLUMNS": panel + 1, "HEIGHT": tiles.heights[0]}
    words |= {"WIDE": WIDE_PANELS * panel, "RELEASE": RELEASE, "MOST_AXES": MOST_AXES, "AXES_ROOM": 4 * MOST_AXES}
    # A piece has its own share of these; of the rest it takes the whole.
    cut = ("a", "b", "c", "m", "n", "ws")
    same = [field for field in _JOB.kinds if field not in (*cut, "work", "found")]
    texts = [
        _JOB.definition(),
        _READ.replace("STORE.JOB", _JOB.store("%job")),
        opening("multiply", 4) + _ALONE + _ANSWER,
        opening("multiply_together", 6) + _TOGETHER + _ANSWER,
        _PIECE.replace("LOAD.JOB", f"{_JOB.load('%job', cut, 'whole.')}\n{_JOB.load('%job', same)}"),
    ]
    for field in ("work", "found", "pieces"):
        texts = [text.replace(f"PLACE.{field.upper()}", _JOB.place("%job", field)) for text in texts]
    for word, value in words.items():
        texts = [text.replace(word, str(value)) for text in texts]
    return [text.replace("ARGUMENTS", PRODUCT_ARGUMENTS) for text in texts]


#: Products that several threads share. ``unit`` rows or columns are not cut, and each product has ``units`` of them;
#: ``each`` thread has so much workspace. Of each axis of the stack ``stack`` holds the size, and the strides of all
#: three arrays. ``work`` is how many multiply-adds there are, ``found`` whether somebody found a NaN.
_JOB: Final = Struct(
    "Job",
    "ptr a, i64 ra, i64 ka, ptr b, i64 kb, i64 cb, ptr c, i64 rc, "
    "i64 m, i64 k, i64 n, ptr ws, i1 packs, i64 stretch, ptr stack, i64 axes, i64 items, "
    "i1 by.rows, i64 unit, i64 units, i64 pieces, i64 each, i64 work, i64 found",
)

#: 256 asks for aligned arrays, 1024 for writeable ones, 1 for contiguous ones. Pieces are rows where rows are packed,
#: so that none is packed twice, or columns are few; columns otherwise.
_READ = """
define internal i1 @read_job(ptr %arg0, ptr %arg1, ptr %arg2, ptr %arg3, i64 %workers, i64 %share, ptr %stack, ptr %job)
nounwind {
  %type = call ptr @type_of(ptr %arg2)
  %is.array = icmp eq ptr %type, @PyArray_Type
  br i1 %is.array, label %ranked, label %misfit
ranked:
  %rank = call i32 @array_rank(ptr %arg2)
  %fits.a = call i1 @is_array(ptr %arg0, i32 NUMBER, i32 %rank, i32 256)
  %fits.b = call i1 @is_array(ptr %arg1, i32 NUMBER, i32 %rank, i32 256)
  %fits.c = call i1 @is_array(ptr %arg2, i32 NUMBER, i32 %rank, i32 1280)
  %fits.ws = call i1 @is_array(ptr %arg3, i32 BYTE, i32 1, i32 1281)
  %fits.ab = and i1 %fits.a, %fits.b
  %fits.cws = and i1 %fits.c, %fits.ws
  %arrays = and i1 %fits.ab, %fits.cws
  %axes.short = sub i32 %rank, 2
  %axes = zext i32 %axes.short to i64
  %not.many = icmp ule i64 %axes, MOST_AXES
  %stacks = and i1 %arrays, %not.many
  br i1 %stacks, label %axis, label %misfit
axis:
  %i = phi i64 [ 0, %ranked ], [ %rows, %one ]
  %items = phi i64 [ 1, %ranked ], [ %items.next, %one ]
  %alike = phi i1 [ true, %ranked ], [ %alike.next, %one ]
  %rows = add i64 %i, 1
  %more = icmp slt i64 %i, %axes
  br i1 %more, label %one, label %sizes
one:
  %size = call i64 @array_size(ptr %arg2, i64 %i)
  %size.a = call i64 @array_size(ptr %arg0, i64 %i)
  %size.b = call i64 @array_size(ptr %arg1, i64 %i)
  %its.step.a = call i64 @array_stride(ptr %arg0, i64 %i)
  %its.step.b = call i64 @array_stride(ptr %arg1, i64 %i)
  %step.c = call i64 @array_stride(ptr %arg2, i64 %i)
  %same.a = icmp eq i64 %size.a, %size
  %same.b = icmp eq i64 %size.b, %size
  %one.a = icmp eq i64 %size.a, 1
  %one.b = icmp eq i64 %size.b, 1
  %fit.a = or i1 %same.a, %one.a
  %fit.b = or i1 %same.b, %one.b
  %fit.ab = and i1 %fit.a, %fit.b
  %alike.next = and i1 %alike, %fit.ab
  %step.a = select i1 %one.a, i64 0, i64 %its.step.a
  %step.b = select i1 %one.b, i64 0, i64 %its.step.b
  %items.next = mul i64 %items, %size
  %axis.place = getelementptr [4 x i64], ptr %stack, i64 %i
  %axis.a = getelementptr i64, ptr %axis.place, i64 1
  %axis.b = getelementptr i64, ptr %axis.place, i64 2
  %axis.c = getelementptr i64, ptr %axis.place, i64 3
  store i64 %size, ptr %axis.place
  store i64 %step.a, ptr %axis.a
  store i64 %step.b, ptr %axis.b
  store i64 %step.c, ptr %axis.c
  br label %axis
sizes:
  %m = call i64 @array_size(ptr %arg0, i64 %axes)
  %k = call i64 @array_size(ptr %arg0, i64 %rows)
  %n = call i64 @array_size(ptr %arg1, i64 %rows)
  %its.k = call i64 @array_size(ptr %arg1, i64 %axes)
  %its.m = call i64 @array_size(ptr %arg2, i64 %axes)
  %its.n = call i64 @array_size(ptr %arg2, i64 %rows)
  %ra = call i64 @array_stride(ptr %arg0, i64 %axes)
  %ka = call i64 @array_stride(ptr %arg0, i64 %rows)
  %kb = call i64 @array_stride(ptr %arg1, i64 %axes)
  %cb = call i64 @array_stride(ptr %arg1, i64 %rows)
  %rc = call i64 @array_stride(ptr %arg2, i64 %axes)
  %cc = call i64 @array_stride(ptr %arg2, i64 %rows)
  %room = call i64 @array_size(ptr %arg3, i64 0)
  %same.k = icmp eq i64 %k, %its.k
  %same.m = icmp eq i64 %m, %its.m
  %same.n = icmp eq i64 %n, %its.n
  %rows.whole = icmp eq i64 %cc, SIZE
  %mk = mul i64 %m, %k
  %of.each = mul i64 %mk, %n
  %work = mul i64 %of.each, %items
  %any = icmp sgt i64 %work, 0
  %long = icmp ugt i64 %k, STRETCH
  %longest = select i1 %long, i64 STRETCH, i64 %k
  %length = mul i64 %longest, SIZE
  %columns = add i64 %m, COLUMNS
  %bytes = mul i64 %length, %columns
  %bytes.more = add i64 %bytes, 127
  %needed = and i64 %bytes.more, -64
  %only = icmp eq i64 %workers, 1
  %share.any = select i1 %only, i64 %room, i64 %share
  %each = and i64 %share.any, -64
  %together = mul i64 %workers, %each
  %in.all = icmp uge i64 %room, %together
  %in.each = icmp uge i64 %each, %needed
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
  %same.kmnw = and i1 %same.km, %same.nw
  %same = and i1 %same.kmnw, %alike
  %roomy = and i1 %in.all, %in.each
  %some = and i1 %any, %roomy
  %fits = and i1 %same, %some
  br i1 %fits, label %cut, label %misfit
cut:
  %few = icmp slt i64 %n, TWO_PANELS
  %by.rows = or i1 %apart, %few
  %unit = select i1 %by.rows, i64 HEIGHT, i64 PANEL
  %whole.length = select i1 %by.rows, i64 %m, i64 %n
  %longer = add i64 %whole.length, %unit
  %longest.up = sub i64 %longer, 1
  %units = udiv i64 %longest.up, %unit
  %all.units = mul i64 %units, %items
  %each.takes = select i1 %by.rows, i64 2, i64 4
  %wanted = mul i64 %each.takes, %workers
  %most = call i64 @llvm.smin.i64(i64 %all.units, i64 %wanted)
  %pieces = select i1 %only, i64 1, i64 %most
  %a = call ptr @array_data(ptr %arg0)
  %b = call ptr @array_data(ptr %arg1)
  %c = call ptr @array_data(ptr %arg2)
  %space = call ptr @array_data(ptr %arg3)
  %space.word = ptrtoint ptr %space to i64
  %space.up = add i64 %space.word, 63
  %space.aligned = and i64 %space.up, -64
  %ws = inttoptr i64 %space.aligned to ptr
  %found = add i64 0, 0
STORE.JOB
  ret i1 true
misfit:
  ret i1 false
}
"""

_ALONE = """
  %job = alloca %Job
  %stack = alloca [AXES_ROOM x i64]
  %fits = call i1 @read_job(ptr %arg0, ptr %arg1, ptr %arg2, ptr %arg3, i64 1, i64 0, ptr %stack, ptr %job)
  br i1 %fits, label %run, label %misfit
run:
  %work.place = PLACE.WORK
  %work = load i64, ptr %work.place
  %large = icmp uge i64 %work, RELEASE
  %state = call ptr @release_gil(i1 %large)
  call void @piece(ptr %job, i64 0, i64 0)
"""

_TOGETHER = """
  %job = alloca %Job
  %stack = alloca [AXES_ROOM x i64]
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
  %fits = call i1 @read_job(ptr %arg0, ptr %arg1, ptr %arg2, ptr %arg3, i64 %workers, i64 %each, ptr %stack, ptr %job)
  br i1 %fits, label %run, label %misfit
run:
  %pieces.place = PLACE.PIECES
  %pieces = load i64, ptr %pieces.place
  %state = call ptr @release_gil(i1 true)
  call void %run.job(ptr %mailbox, ptr @piece, ptr %job, i64 %pieces, i64 %workers)
"""

_ANSWER = """
  call void @take_gil(ptr %state)
  %found.place = PLACE.FOUND
  %found = load i64, ptr %found.place
  %nan = icmp ne i64 %found, 0
  %answer = select i1 %nan, ptr @_Py_TrueStruct, ptr @_Py_FalseStruct
  call void @Py_IncRef(ptr %answer)
  ret ptr %answer
misfit:
  %null = call ptr @raise_type_error(ptr @gradloom.misfit)
  ret ptr %null
}
"""

#: A piece is a range of the units of all products, one product after the other. Pieces with greater numbers are taken
#: first, and are larger: the last to be taken are small, so that no thread waits long for another.
_PIECE = """
define internal void @piece(ptr %job, i64 %number, i64 %worker) nounwind {
LOAD.JOB
  %all.units = mul i64 %units, %items
  %following = add i64 %number, 1
  %beyond.following = add i64 %number, 2
  %more.pieces = add i64 %pieces, 1
  %so.far = mul i64 %number, %following
  %then = mul i64 %following, %beyond.following
  %at.last = mul i64 %pieces, %more.pieces
  %x = mul i64 %all.units, %so.far
  %y = mul i64 %all.units, %then
  %start = udiv i64 %x, %at.last
  %stop = udiv i64 %y, %at.last
  %offset.ws = mul i64 %each, %worker
  %ws = getelementptr i8, ptr %whole.ws, i64 %offset.ws
  %length = select i1 %by.rows, i64 %whole.m, i64 %whole.n
  %across.a = select i1 %by.rows, i64 %ra, i64 0
  %across.b = select i1 %by.rows, i64 0, i64 %cb
  %across.c = select i1 %by.rows, i64 %rc, i64 SIZE
  %some = icmp ult i64 %start, %stop
  br i1 %some, label %next, label %end
next:
  %at = phi i64 [ %start, %0 ], [ %until, %multiply ]
  %item = udiv i64 %at, %units
  %base = mul i64 %item, %units
  %beyond.item = add i64 %base, %units
  %until = call i64 @llvm.smin.i64(i64 %beyond.item, i64 %stop)
  %first.unit = sub i64 %at, %base
  %last.unit = sub i64 %until, %base
  %first = mul i64 %first.unit, %unit
  %beyond = mul i64 %last.unit, %unit
  %last = call i64 @llvm.smin.i64(i64 %beyond, i64 %length)
  %count = sub i64 %last, %first
  %offset.a = mul i64 %first, %across.a
  %offset.b = mul i64 %first, %across.b
  %offset.c = mul i64 %first, %across.c
  %first.a = getelementptr i8, ptr %whole.a, i64 %offset.a
  %first.b = getelementptr i8, ptr %whole.b, i64 %offset.b
  %first.c = getelementptr i8, ptr %whole.c, i64 %offset.c
  %m = select i1 %by.rows, i64 %count, i64 %whole.m
  %n = select i1 %by.rows, i64 %whole.n, i64 %count
  br label %axis
axis:
  %i = phi i64 [ %axes, %next ], [ %i.next, %one ]
  %place = phi i64 [ %item, %next ], [ %outer, %one ]
  %a = phi ptr [ %first.a, %next ], [ %a.next, %one ]
  %b = phi ptr [ %first.b, %next ], [ %b.next, %one ]
  %c = phi ptr [ %first.c, %next ], [ %c.next, %one ]
  %more = icmp sgt i64 %i, 0
  br i1 %more, label %one, label %multiply
one:
  %i.next = sub i64 %i, 1
  %axis.place = getelementptr [4 x i64], ptr %stack, i64 %i.next
  %axis.a = getelementptr i64, ptr %axis.place, i64 1
  %axis.b = getelementptr i64, ptr %axis.place, i64 2
  %axis.c = getelementptr i64, ptr %axis.place, i64 3
  %size = load i64, ptr %axis.place
  %step.a = load i64, ptr %axis.a
  %step.b = load i64, ptr %axis.b
  %step.c = load i64, ptr %axis.c
  %outer = udiv i64 %place, %size
  %inner = urem i64 %place, %size
  %move.a = mul i64 %inner, %step.a
  %move.b = mul i64 %inner, %step.b
  %move.c = mul i64 %inner, %step.c
  %a.next = getelementptr i8, ptr %a, i64 %move.a
  %b.next = getelementptr i8, ptr %b, i64 %move.b
  %c.next = getelementptr i8, ptr %c, i64 %move.c
  br label %axis
multiply:
  %nan = call i1 @product(ARGUMENTS)
  %word = zext i1 %nan to i64
  %found.place = PLACE.FOUND
  %before = atomicrmw or ptr %found.place, i64 %word monotonic
  %left = icmp ult i64 %until, %stop
  br i1 %left, label %next, label %end
end:
  ret void
}
"""
