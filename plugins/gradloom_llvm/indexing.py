"""Indexing: native kernels that read an array at places along one axis, or add to it there.

The axis makes three of all axes: those before it, its own, those behind it. What is read or added has two in its
place, those of the array of places; any strides are taken as they are. Elements are added in the order of the index, as
NumPy does, so the bits are those of its kernels, which run until there is native code.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import count
from typing import Any, Final, TypeAlias, final

import numpy as np

from gradloom.backend import Kernel
from gradloom.memory import empty, ordered_copy
from gradloom.spec import WHOLE, Spec
from gradloom_llvm.elementwise import TYPES
from gradloom_llvm.engine import load
from gradloom_llvm.entry import CLOSING, builtin, opening, prelude
from gradloom_llvm.invoke import ALIGNED, CONTIGUOUS, WRITEABLE
from gradloom_llvm.jobs import Job
from gradloom_llvm.text import Text

#: Elements from which on a native kernel is worth its code.
LARGE: Final = 2048
#: Elements from which on other Python threads run meanwhile.
RELEASE: Final = 50_000
#: Bytes that stand side by side behind the axis from which on NumPy reads as quickly; single elements of one row, too.
BLOCK: Final = 128
_DTYPES: Final = (np.dtype(np.float64), np.dtype(np.float32))
#: A builtin, or None if it does not compile.
Native: TypeAlias = Callable[..., None] | None
_WORD: Final = np.dtype(np.int64)


@final
class _Sizes:
    """The shapes in which a kernel takes its arrays; ``shape`` is that of the part as it is."""

    __slots__ = ("part", "places", "shape", "table")

    def __init__(
        self,
        table: tuple[int, int, int],
        part: tuple[int, int, int, int],
        places: tuple[int, int],
        shape: tuple[int, ...],
    ) -> None:
        self.table, self.part, self.places = table, part, places
        self.shape = shape


def indexing_kernel(name: str, specs: tuple[Spec, ...], attrs: tuple[Any, ...], plain: Kernel) -> Kernel:
    """Return the kernel of an op that reads or adds at places.

    Parameters
    ----------
    name : str
        Of the op.
    specs, attrs : tuple
        Those of the node.
    plain : callable
        The backend's kernel: for other indices, for arrays of other kinds, and until there is native code.
    """
    x, at = specs[0], specs[-1]
    sizes = _sizes(x, at, attrs[0])
    if sizes is None or x.dtype not in _DTYPES or at.dtype != _WORD or math.prod(sizes.part) < LARGE:
        return plain
    rows, _, inner = sizes.table
    if name == "index_add":
        pays = specs[1] == Spec(sizes.shape, x.dtype)
    else:
        pays = (rows, inner) != (1, 1) and inner * x.dtype.itemsize < BLOCK
    if not pays:
        return plain
    job = _job(name, x.dtype)
    kernel: Any = (_adding if name == "index_add" else _gathering)(sizes, plain, x.dtype, job)
    kernel.finish = job.result
    return kernel  # type: ignore[no-any-return]


def _sizes(x: Spec, at: Spec, index: Sequence[Any]) -> _Sizes | None:
    """Return the shapes of an index that is an array on one axis, and takes the others whole."""
    axes = [k for k, entry in enumerate(index) if entry == "array"]
    if len(axes) != 1 or not at.ndim or len(index) > x.ndim:
        return None
    (axis,) = axes
    before, behind = x.shape[:axis], x.shape[axis + 1 :]
    if [entry for k, entry in enumerate(index) if k != axis and entry != WHOLE]:
        return None
    rows, inner = math.prod(before), math.prod(behind)
    places = math.prod(at.shape[:-1]), at.shape[-1]
    return _Sizes((rows, x.shape[axis], inner), (rows, *places, inner), places, (*before, *at.shape, *behind))


def _adding(sizes: _Sizes, plain: Kernel, dtype: np.dtype[Any], job: Job[Native]) -> Kernel:
    calls = count()

    def index_add(x: Any, v: Any, at: Any, donate: bool = False) -> Any:
        native = _begun(job, calls)
        if native is None:
            return plain(x, v, at, donate=donate)
        out = x
        if not donate or type(x) is not np.ndarray or not x.flags.c_contiguous or not x.flags.writeable:
            out = ordered_copy(x, dtype)
        try:
            native(out.reshape(sizes.table), v.reshape(sizes.part), at.reshape(sizes.places))
        except TypeError:  # an array of another kind, or a place that there is not
            return plain(x, v, at, donate=donate)
        return out

    return index_add


def _gathering(sizes: _Sizes, plain: Kernel, dtype: np.dtype[Any], job: Job[Native]) -> Kernel:
    calls = count()

    def gather(x: Any, at: Any) -> Any:
        native = _begun(job, calls)
        if native is None:
            return plain(x, at)
        out = empty(sizes.shape, dtype)
        try:
            native(x.reshape(sizes.table), out.reshape(sizes.part), at.reshape(sizes.places))
        except TypeError:
            return plain(x, at)
        return out

    return gather


def _begun(job: Job[Native], calls: Iterator[int]) -> Native:
    """Return the native function if there is one; otherwise let it be compiled, at the second call."""
    return job.result() if job.done or (next(calls) and not job.begin()) else None


@cache
def _job(name: str, dtype: np.dtype[Any]) -> Job[Native]:
    """Return what compiles the builtin ``name(table, part, places)`` of a dtype."""

    def make() -> Native:
        try:
            return builtin(load(prelude() + _source(name, dtype)), name)
        except Exception as error:
            warnings.warn(
                f"compiler 'llvm' failed on {name}, NumPy's kernel runs: {error}", RuntimeWarning, stacklevel=2
            )
            return None

    return Job(make)


def _source(name: str, dtype: np.dtype[Any]) -> str:
    """Return the IR of a builtin: it checks its arguments, and all places before the first is used."""
    table, part = (WRITEABLE, 0) if name == "index_add" else (0, WRITEABLE)
    words = {"NUMBER": dtype.num, "WORD": _WORD.num, "RELEASE": RELEASE}
    words |= {"OF_TABLE": ALIGNED | table, "OF_PART": ALIGNED | part, "OF_PLACES": ALIGNED | CONTIGUOUS}
    text = _WITHIN + _loops(name, dtype, "rijc") + _loops(name, dtype, "rij") + opening(name, 3) + _BODY + CLOSING
    for word, value in words.items():
        text = text.replace(word, str(value))
    return text


def _loops(name: str, dtype: np.dtype[Any], loops: str) -> str:
    """Return the function of some loops over elements: without that of the axes behind where these are of length 1."""
    w, memory = Text(), TYPES[dtype][1]
    limits = {"r": "%rows", "i": "%is", "j": "%js", "c": "%inner"}
    closes, at, table, part = [], {}, "%table", "%part"
    for word in loops:
        at[word], close = w.open("0", limits[word], "1")
        closes.append(close)
        part = _step(w, part, at[word], f"%p{word}")
        if word == "j":
            table = _step(w, table, _place(w, at["i"], at["j"]), "%tl")
        elif word != "i":
            table = _step(w, table, at[word], f"%t{word}")
    source, target = (table, part) if name == "gather" else (part, table)
    value = w.emit(f"load {memory}, ptr {source}")
    if name == "index_add":
        value = w.emit(f"fadd {memory} {w.emit(f'load {memory}, ptr {target}')}, {value}")
    w.lines.append(f"  store {memory} {value}, ptr {target}")
    for close in reversed(closes):
        close()
    head = f"define internal void @loops.{loops}({_ARGUMENTS}) nounwind {{"
    return "\n".join([head, "  br label %body", "body:", *w.lines, "  ret void", "}"])


def _step(w: Text, pointer: str, index: str, stride: str) -> str:
    return w.emit(f"getelementptr i8, ptr {pointer}, i64 {w.emit(f'mul i64 {index}, {stride}')}")


def _place(w: Text, i: str, j: str) -> str:
    """Return the place at a point of the index, counted from the start of the axis."""
    number = w.emit(f"add i64 {w.emit(f'mul i64 {i}, %js')}, {j}")
    place = w.emit(f"load i64, ptr {w.emit(f'getelementptr i64, ptr %places, i64 {number}')}")
    from_end = w.emit(f"add i64 {place}, %length")
    return w.emit(f"select i1 {w.emit(f'icmp slt i64 {place}, 0')}, i64 {from_end}, i64 {place}")


_ARGUMENTS: Final = (
    "ptr %table, i64 %tr, i64 %tl, i64 %tc, ptr %part, i64 %pr, i64 %pi, i64 %pj, i64 %pc, ptr %places, "
    "i64 %rows, i64 %length, i64 %is, i64 %js, i64 %inner"
)

_WITHIN: Final = """
@gradloom.misfit = private constant [39 x i8] c"an array or a place does not fit here.\\00"
define internal i1 @within(ptr %places, i64 %n, i64 %length) nounwind {
entry:
  %twice = mul i64 %length, 2
  br label %loop
loop:
  %k = phi i64 [ 0, %entry ], [ %k.next, %one ]
  %fits = phi i1 [ true, %entry ], [ %fits.next, %one ]
  %more = icmp slt i64 %k, %n
  br i1 %more, label %one, label %done
one:
  %address = getelementptr i64, ptr %places, i64 %k
  %place = load i64, ptr %address
  %from.end = add i64 %place, %length
  %inside = icmp ult i64 %from.end, %twice
  %fits.next = and i1 %fits, %inside
  %k.next = add i64 %k, 1
  br label %loop
done:
  ret i1 %fits
}
"""

_BODY: Final = f"""
  %fits.table = call i1 @is_array(ptr %arg0, i32 NUMBER, i32 3, i32 OF_TABLE)
  %fits.part = call i1 @is_array(ptr %arg1, i32 NUMBER, i32 4, i32 OF_PART)
  %fits.places = call i1 @is_array(ptr %arg2, i32 WORD, i32 2, i32 OF_PLACES)
  %fits.two = and i1 %fits.table, %fits.part
  %arrays = and i1 %fits.two, %fits.places
  br i1 %arrays, label %measure, label %misfit
measure:
  %rows = call i64 @array_size(ptr %arg0, i64 0)
  %length = call i64 @array_size(ptr %arg0, i64 1)
  %inner = call i64 @array_size(ptr %arg0, i64 2)
  %is = call i64 @array_size(ptr %arg2, i64 0)
  %js = call i64 @array_size(ptr %arg2, i64 1)
  %part.rows = call i64 @array_size(ptr %arg1, i64 0)
  %part.is = call i64 @array_size(ptr %arg1, i64 1)
  %part.js = call i64 @array_size(ptr %arg1, i64 2)
  %part.inner = call i64 @array_size(ptr %arg1, i64 3)
  %same.rows = icmp eq i64 %rows, %part.rows
  %same.is = icmp eq i64 %is, %part.is
  %same.js = icmp eq i64 %js, %part.js
  %same.inner = icmp eq i64 %inner, %part.inner
  %same.outside = and i1 %same.rows, %same.inner
  %same.places = and i1 %same.is, %same.js
  %alike = and i1 %same.outside, %same.places
  br i1 %alike, label %look, label %misfit
look:
  %places = call ptr @array_data(ptr %arg2)
  %count.places = mul i64 %is, %js
  %inside = call i1 @within(ptr %places, i64 %count.places, i64 %length)
  br i1 %inside, label %run, label %misfit
run:
  %table = call ptr @array_data(ptr %arg0)
  %part = call ptr @array_data(ptr %arg1)
  %tr = call i64 @array_stride(ptr %arg0, i64 0)
  %tl = call i64 @array_stride(ptr %arg0, i64 1)
  %tc = call i64 @array_stride(ptr %arg0, i64 2)
  %pr = call i64 @array_stride(ptr %arg1, i64 0)
  %pi = call i64 @array_stride(ptr %arg1, i64 1)
  %pj = call i64 @array_stride(ptr %arg1, i64 2)
  %pc = call i64 @array_stride(ptr %arg1, i64 3)
  %of.row = mul i64 %count.places, %inner
  %points = mul i64 %of.row, %rows
  %large = icmp uge i64 %points, RELEASE
  %state = call ptr @release_gil(i1 %large)
  %single = icmp eq i64 %inner, 1
  br i1 %single, label %elements, label %blocks
elements:
  call void @loops.rij({_ARGUMENTS})
  br label %finish
blocks:
  call void @loops.rijc({_ARGUMENTS})
  br label %finish
finish:
  call void @take_gil(ptr %state)
"""
