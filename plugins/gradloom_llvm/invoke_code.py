"""The builtins that check arguments against a record and call its kernel, alone or by a team; as IR text."""

from __future__ import annotations

from typing import Final

import numpy as np

from gradloom_llvm.entry import CLOSING
from gradloom_llvm.phase_code import PHASES, RANGES, RUN_PHASES
from gradloom_llvm.text import Struct

#: The head of a record; what each argument must be follows.
_RECORD: Final = Struct(
    "Record",
    "i64 address, i64 numbers.start, i64 bytes.whole, i64 split, i64 last, i64 chunk.count, "
    "i64 releases, i64 n, i64 row.phases",
)

#: Takes the addresses of all arguments, and tells whether they are what the record asks for.
_READ = """
declare ptr @malloc(i64)
declare void @free(ptr)
declare ptr @PyErr_NoMemory()
@gradloom.misfit = private constant [37 x i8] c"an argument does not fit the kernel.\\00"

define internal i1 @read(ptr %record, ptr %objects, i64 %n, ptr %pointers, ptr %scalars) nounwind {
entry:
  br label %argument
argument:
  %k = phi i64 [ 0, %entry ], [ %k.next, %taken ]
  %at = phi i64 [ HEAD, %entry ], [ %at.next, %taken ]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %look, label %all
look:
  %k.next = add i64 %k, 1
  %place = getelementptr ptr, ptr %objects, i64 %k
  %object = load ptr, ptr %place
  %number.place = getelementptr i64, ptr %record, i64 %at
  %rank.place = getelementptr i64, ptr %number.place, i64 1
  %flags.place = getelementptr i64, ptr %number.place, i64 2
  %shape.place = getelementptr i64, ptr %number.place, i64 3
  %number = load i64, ptr %number.place
  %rank = load i64, ptr %rank.place
  %flags = load i64, ptr %flags.place
  %number32 = trunc i64 %number to i32
  %rank32 = trunc i64 %rank to i32
  %flags32 = trunc i64 %flags to i32
  %slot = getelementptr ptr, ptr %pointers, i64 %k
  %at.rank = add i64 %at, 3
  %at.next = add i64 %at.rank, %rank
  %is.array = call i1 @is_array(ptr %object, i32 %number32, i32 %rank32, i32 %flags32)
  br i1 %is.array, label %axis, label %scalar
axis:
  %a = phi i64 [ 0, %look ], [ %a.next, %same ]
  %axes.left = icmp slt i64 %a, %rank
  br i1 %axes.left, label %compare, label %fits
compare:
  %length = call i64 @array_size(ptr %object, i64 %a)
  %wanted.place = getelementptr i64, ptr %shape.place, i64 %a
  %wanted = load i64, ptr %wanted.place
  %equal = icmp eq i64 %length, %wanted
  br i1 %equal, label %same, label %misfit
same:
  %a.next = add i64 %a, 1
  br label %axis
fits:
  %data = call ptr @array_data(ptr %object)
  store ptr %data, ptr %slot
  br label %taken
scalar:
  ; Numbers stand for inputs without axes.
  %is.output = and i64 %flags, 1024
  %not.scalar = or i64 %is.output, %rank
  %may.be = icmp eq i64 %not.scalar, 0
  br i1 %may.be, label %try.float, label %misfit
try.float:
  %scalar.slot = getelementptr double, ptr %scalars, i64 %k
  %is.double = icmp eq i64 %number, 12
  %float.object = call i1 @is_float(ptr %object)
  %double.fits = and i1 %is.double, %float.object
  br i1 %double.fits, label %take.double, label %try.float32
take.double:
  %double = call double @float_value(ptr %object)
  store double %double, ptr %scalar.slot
  br label %take.scalar
try.float32:
  %is.single = icmp eq i64 %number, 11
  %float32.object = call i1 @is_float32(ptr %object)
  %single.fits = and i1 %is.single, %float32.object
  br i1 %single.fits, label %take.single, label %misfit
take.single:
  %single = call float @float32_value(ptr %object)
  store float %single, ptr %scalar.slot
  br label %take.scalar
take.scalar:
  store ptr %scalar.slot, ptr %slot
  br label %taken
taken:
  br label %argument
all:
  ret i1 true
misfit:
  ret i1 false
}
"""

_INVOKE = """
define ptr @invoke(ptr %self, ptr %arguments, i64 %count) nounwind {
entry:
  %some = icmp sge i64 %count, 1
  br i1 %some, label %first, label %misfit
first:
  %record.object = load ptr, ptr %arguments
  %is.record = call i1 @is_array(ptr %record.object, i32 WORD, i32 1, i32 257)
  br i1 %is.record, label %head, label %misfit
head:
  %record = call ptr @array_data(ptr %record.object)
LOAD.RECORD
  %given = sub i64 %count, 1
  %all = icmp eq i64 %given, %n
  br i1 %all, label %prepare, label %misfit
prepare:
  %kernel = inttoptr i64 %address to ptr
  %numbers = getelementptr i8, ptr %record, i64 %numbers.start
  %pointers = alloca ptr, i64 %n
  %scalars = alloca double, i64 %n
  %objects = getelementptr ptr, ptr %arguments, i64 1
  %fits = call i1 @read(ptr %record, ptr %objects, i64 %n, ptr %pointers, ptr %scalars)
  br i1 %fits, label %workspace, label %misfit
workspace:
  %small = icmp ule i64 %bytes.whole, 16384
  br i1 %small, label %on.stack, label %on.heap
on.stack:
  %stack.size = select i1 %small, i64 %bytes.whole, i64 0
  %stack = alloca i8, i64 %stack.size, align 64
  br label %call
on.heap:
  %heap = call ptr @malloc(i64 %bytes.whole)
  %got = icmp ne ptr %heap, null
  br i1 %got, label %call, label %no.memory
call:
  %ws = phi ptr [ %stack, %on.stack ], [ %heap, %on.heap ]
  %block = getelementptr i8, ptr %ws, i64 %split
  %release = icmp ne i64 %releases, 0
  %state = call ptr @release_gil(i1 %release)
  call void %kernel(ptr %pointers, ptr %numbers, ptr %ws, ptr %block, i64 0, i64 %last, i64 0, i64 %chunk.count)
  call void @take_gil(ptr %state)
  br i1 %small, label %done, label %freeing
freeing:
  call void @free(ptr %ws)
  br label %done
done:
  %none = call ptr @none()
  ret ptr %none
misfit:
  %null = call ptr @raise_type_error(ptr @gradloom.misfit)
  ret ptr %null
no.memory:
  %error = call ptr @PyErr_NoMemory()
  ret ptr null
}
"""

#: With a team's mailbox, the number of threads, and workspace for all of them before the arrays.
_TOGETHER = (
    """
declare i64 @PyLong_AsLong(ptr)
define ptr @invoke_together(ptr %self, ptr %arguments, i64 %count) nounwind {
entry:
  %job = alloca %Phases
  %some = icmp sge i64 %count, 4
  br i1 %some, label %first, label %misfit
first:
  %second.place = getelementptr ptr, ptr %arguments, i64 1
  %third.place = getelementptr ptr, ptr %arguments, i64 2
  %fourth.place = getelementptr ptr, ptr %arguments, i64 3
  %objects = getelementptr ptr, ptr %arguments, i64 4
  %record.object = load ptr, ptr %arguments
  %mailbox.object = load ptr, ptr %second.place
  %workers.object = load ptr, ptr %third.place
  %room.object = load ptr, ptr %fourth.place
  %is.record = call i1 @is_array(ptr %record.object, i32 WORD, i32 1, i32 257)
  %is.mailbox = call i1 @is_array(ptr %mailbox.object, i32 WORD, i32 1, i32 1281)
  %is.room = call i1 @is_array(ptr %room.object, i32 BYTE, i32 1, i32 1281)
  %is.known = and i1 %is.record, %is.mailbox
  %are.arrays = and i1 %is.known, %is.room
  br i1 %are.arrays, label %head, label %misfit
head:
  %workers = call i64 @PyLong_AsLong(ptr %workers.object)
  %record = call ptr @array_data(ptr %record.object)
  %mailbox = call ptr @array_data(ptr %mailbox.object)
  %shared = call ptr @array_data(ptr %room.object)
  %room = call i64 @array_size(ptr %room.object, i64 0)
LOAD.RECORD
  %given = sub i64 %count, 4
  %all = icmp eq i64 %given, %n
  %bytes = sub i64 %bytes.whole, %split
  %of.all = mul i64 %bytes, %workers
  %needed = add i64 %split, %of.all
  %roomy = icmp uge i64 %room, %needed
  %several = icmp sgt i64 %workers, 0
  %counts = and i1 %all, %several
  %fitting = and i1 %counts, %roomy
  br i1 %fitting, label %prepare, label %misfit
prepare:
  %pointers = alloca ptr, i64 %n
  %scalars = alloca double, i64 %n
  %fits = call i1 @read(ptr %record, ptr %objects, i64 %n, ptr %pointers, ptr %scalars)
  br i1 %fits, label %run, label %misfit
run:
  %kernel = inttoptr i64 %address to ptr
  %numbers = getelementptr i8, ptr %record, i64 %numbers.start
  %arrays = getelementptr ptr, ptr %pointers, i64 0
  %blocks = getelementptr i8, ptr %shared, i64 %split
  %rows = add i64 %row.phases, 0
  %phases = add i64 %last, 1
  %chunks = add i64 %chunk.count, 0
  %most = mul i64 %workers, RANGES
  %fewer = icmp slt i64 %chunks, %most
  %ranges = select i1 %fewer, i64 %chunks, i64 %most
  %phase = add i64 0, 0
  %parts = add i64 0, 0
STORE.JOB
  %run.place = getelementptr i64, ptr %mailbox, i64 RUN_PHASES
  %run.phases = load ptr, ptr %run.place
  %state = call ptr @release_gil(i1 true)
  call void %run.phases(ptr %mailbox, ptr %job)
  call void @take_gil(ptr %state)"""
    + CLOSING
)


def source() -> str:
    """Return the IR of both builtins."""
    parts = [_RECORD.definition(), PHASES.definition(), _READ, _INVOKE, _TOGETHER]
    words = {"LOAD.RECORD": _RECORD.load("%record", _RECORD.kinds), "STORE.JOB": PHASES.store("%job")}
    words |= {"HEAD": str(len(_RECORD.kinds)), "RANGES": str(RANGES), "RUN_PHASES": str(RUN_PHASES)}
    words |= {"WORD": str(np.dtype(np.int64).num), "BYTE": str(np.dtype(np.uint8).num)}
    text = "\n".join(parts)
    for word, value in words.items():
        text = text.replace(word, value)
    return text
