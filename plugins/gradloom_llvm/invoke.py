"""Invoke: one native builtin that checks arguments against a record and calls a kernel.

A record is an array of ``int64``: what the kernel is, what it takes, and what each argument must
be. A call costs a fraction of a microsecond, a tenth of what ctypes takes.
"""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple, final

import numpy as np

from gradloom.generated import function
from gradloom.memory import LEAST, empty
from gradloom_llvm.engine import load
from gradloom_llvm.entry import builtin, prelude
from gradloom_llvm.jobs import Job
from gradloom_llvm.tiers import Code

#: Flags of arrays that kernels take: C-contiguous and aligned; outputs can be written, too.
CONTIGUOUS, ALIGNED, WRITEABLE = 0x1, 0x100, 0x400


class Argument(NamedTuple):
    """What an argument must be."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    flags: int


def record(
    address: int,
    numbers: np.ndarray[Any, Any],
    workspaces: tuple[int, int],
    phases: int,
    chunks: int,
    release: bool,
    arguments: Sequence[Argument],
) -> np.ndarray[Any, Any]:
    """Return the record of a call; ``numbers`` must live as long as it.

    Parameters
    ----------
    address : int
        Of the kernel.
    numbers : ndarray of int64
        The kernel's parameters.
    workspaces : tuple of int
        Bytes of the workspace that all threads share, and of that of each.
    phases, chunks : int
        How many there are.
    release : bool
        Let other Python threads run meanwhile.
    arguments : sequence of Argument
    """
    shared, own = workspaces
    words = [address, numbers.ctypes.data, shared + own, shared, phases - 1, chunks, int(release), len(arguments)]
    for argument in arguments:
        words += [argument.dtype.num, len(argument.shape), argument.flags, *argument.shape]
    return np.array(words, np.int64)


class Loaded(NamedTuple):
    """The record of a call, and what its numbers point into."""

    record: np.ndarray[Any, Any]
    held: Any


@final
class Entry:
    """How a kernel is entered: by the best code that there is.

    Parameters
    ----------
    codes : sequence of Code
        What it runs.
    load : callable
        Returns what to run, of the codes' libraries.
    """

    def __init__(self, codes: Sequence[Code], load: Callable[[], Loaded]) -> None:
        self._codes, self._load = codes, load
        self._settled = self._has_run = False
        #: What runs now; who runs it must hold it meanwhile.
        self.loaded = load()
        #: What functions go by that run the code without coming here: none can while there may be better code.
        self.names: dict[str, Any] = {"record": None, "invoke": _refuse}

    def run(self, run: Callable[[Loaded], object]) -> None:
        """Run the code, and go over to better code when there is some of all."""
        if self._settled:
            run(self.loaded)
            return
        start = time.perf_counter()
        run(self.loaded)
        seconds = time.perf_counter() - start
        for code in self._codes:
            code.ran(seconds)
        if self._has_run and (not INVOKE.begin() or INVOKE.done) and all([code.final for code in self._codes]):
            self.loaded = self._load()
            self.names["record"], self.names["invoke"] = self.loaded.record, INVOKE.result()
            self._settled = True
        self._has_run = True  # once may have been all


def _refuse(*arguments: object) -> None:
    raise TypeError


def _make() -> Callable[..., None]:
    library = load(prelude() + _INVOKE, quick=True)
    return builtin(library, "invoke", doc="Check arrays against a record and call its kernel.")


#: What makes the builtin ``invoke(record, *arrays)``: inputs, then outputs.
#: It returns None; TypeError says that an argument is not what the record asks for.
INVOKE: Final = Job(_make)
_KERNEL: Final = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 4)


def invoke(record: np.ndarray[Any, Any], *arrays: Any) -> None:
    """Call a record's kernel on arrays that fit it: in a roundabout way at first, while the builtin is compiled."""
    if INVOKE.done:
        INVOKE.result()(record, *arrays)
        return
    address, numbers, size, split, last, chunks, *_ = record.tolist()
    workspace = np.empty(size, np.uint8)
    pointers = np.array([array.ctypes.data for array in arrays], np.intp)
    start = workspace.ctypes.data
    _KERNEL(address)(pointers.ctypes.data, numbers, start, start + split, 0, last, 0, chunks)


def caller(
    entry: Entry | None, arity: int, outs: Sequence[tuple[Any, Any]], otherwise: Callable[..., None]
) -> Callable[..., Any]:
    """Return a function of a kernel's inputs that makes the outputs, calls it, and returns them.

    Parameters
    ----------
    entry : Entry or None
        What may be entered directly; None leaves every call to ``otherwise``.
    arity : int
        Number of inputs.
    outs : sequence of (shape, dtype)
    otherwise : callable
        ``otherwise(inputs, outputs)`` runs the kernel where the arguments do not fit the record.
    """
    inputs = [f"a{k}" for k in range(arity)]
    results = [f"o{k}" for k in range(len(outs))]
    values = [name if shape else f"{name}[()]" for name, (shape, _) in zip(results, outs, strict=True)]
    lines = [f"def kernel({', '.join(inputs)}):"]
    lines += [f" {name} = empty{k}(shape{k}, dtype{k})" for k, name in enumerate(results)]
    otherwise_line = f"otherwise([{', '.join(inputs)}], [{', '.join(results)}])"
    if entry is None:
        lines.append(f" {otherwise_line}")
    else:
        lines += [
            " try:",
            f"  invoke(record, {', '.join([*inputs, *results])})",
            " except TypeError:",
            f"  {otherwise_line}",
        ]
    lines.append(f" return {', '.join(values)}")
    namespace: dict[str, Any] = {} if entry is None else entry.names
    namespace["otherwise"] = otherwise
    for k, (shape, dtype) in enumerate(outs):
        namespace[f"shape{k}"], namespace[f"dtype{k}"] = shape, dtype
        namespace[f"empty{k}"] = empty if math.prod(shape) * dtype.itemsize >= LEAST else np.empty
    return function(lines, namespace)


_INVOKE = """
declare ptr @malloc(i64)
declare void @free(ptr)
declare ptr @PyErr_NoMemory()
@gradloom.misfit = private constant [37 x i8] c"an argument does not fit the kernel.\\00"

define ptr @invoke(ptr %self, ptr %arguments, i64 %count) nounwind {
entry:
  %some = icmp sge i64 %count, 1
  br i1 %some, label %first, label %misfit
first:
  %record.object = load ptr, ptr %arguments
  %is.record = call i1 @is_array(ptr %record.object, i32 RECORD, i32 1, i32 257)
  br i1 %is.record, label %head, label %misfit
head:
  %record = call ptr @array_data(ptr %record.object)
  %p7 = getelementptr i64, ptr %record, i64 7
  %n = load i64, ptr %p7
  %given = sub i64 %count, 1
  %all = icmp eq i64 %given, %n
  br i1 %all, label %prepare, label %misfit
prepare:
  %p0 = getelementptr i64, ptr %record, i64 0
  %p1 = getelementptr i64, ptr %record, i64 1
  %p2 = getelementptr i64, ptr %record, i64 2
  %p3 = getelementptr i64, ptr %record, i64 3
  %p4 = getelementptr i64, ptr %record, i64 4
  %p5 = getelementptr i64, ptr %record, i64 5
  %p6 = getelementptr i64, ptr %record, i64 6
  %address = load i64, ptr %p0
  %numbers.address = load i64, ptr %p1
  %bytes = load i64, ptr %p2
  %split = load i64, ptr %p3
  %last = load i64, ptr %p4
  %chunks = load i64, ptr %p5
  %release.word = load i64, ptr %p6
  %kernel = inttoptr i64 %address to ptr
  %numbers = inttoptr i64 %numbers.address to ptr
  %pointers = alloca ptr, i64 %n
  %scalars = alloca double, i64 %n
  br label %argument
argument:
  %k = phi i64 [ 0, %prepare ], [ %k.next, %taken ]
  %at = phi i64 [ 8, %prepare ], [ %at.next, %taken ]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %look, label %workspace
look:
  %k.next = add i64 %k, 1
  %place = getelementptr ptr, ptr %arguments, i64 %k.next
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
workspace:
  %small = icmp ule i64 %bytes, 16384
  br i1 %small, label %on.stack, label %on.heap
on.stack:
  %stack.size = select i1 %small, i64 %bytes, i64 0
  %stack = alloca i8, i64 %stack.size, align 64
  br label %call
on.heap:
  %heap = call ptr @malloc(i64 %bytes)
  %got = icmp ne ptr %heap, null
  br i1 %got, label %call, label %no.memory
call:
  %ws = phi ptr [ %stack, %on.stack ], [ %heap, %on.heap ]
  %block = getelementptr i8, ptr %ws, i64 %split
  %release = icmp ne i64 %release.word, 0
  %state = call ptr @release_gil(i1 %release)
  call void %kernel(ptr %pointers, ptr %numbers, ptr %ws, ptr %block, i64 0, i64 %last, i64 0, i64 %chunks)
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
""".replace("RECORD", str(np.dtype(np.int64).num))
