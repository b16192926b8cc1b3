"""Codegen: the loops of a region as LLVM IR text, with explicit vectors.

A kernel is one function::

    void @kernel(ptr p, ptr n, ptr ws, ptr block, i64 first, i64 last, i64 lo, i64 hi)

It runs the phases from ``first`` to ``last``, of row phases the chunks from ``lo`` up to ``hi``.
``p`` holds the addresses of the arguments, inputs first; ``n`` the numbers that depend on sizes,
in the order of `Code.parameters`; ``ws`` is workspace that all threads share, ``block`` workspace
of one thread. Sizes and strides stand in ``n``, so one kernel serves arrays of every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, final

from gradloom.graph import literal_key
from gradloom_llvm import vectormath
from gradloom_llvm.combining import DType, combiner, identity
from gradloom_llvm.elementwise import TYPES, constant
from gradloom_llvm.function import Function, Parameter
from gradloom_llvm.loops import Loops
from gradloom_llvm.nests import emit_nest
from gradloom_llvm.statements import Nest, Phase, Statement, is_written


@final
class Code:
    """IR text, what its function expects in ``n``, and whether `generate_pairs` writes faster loops."""

    __slots__ = ("parameters", "text", "waits")

    def __init__(self, text: str, parameters: tuple[Parameter, ...], waits: bool) -> None:
        self.text = text
        self.parameters = parameters
        self.waits = waits


def generate(loops: Loops, vector_bytes: int) -> Code:
    """Return the code of a region's loops; the parameters are those of `Function`.

    Loops that differ in sizes alone have the same code, which is written once.
    """
    key = vector_bytes, tuple([literal_key(v) if is_written(v) else None for v, _ in loops.literals.values()])
    known: dict[Any, Code] = loops.scheme.codes
    code = known.get(key)
    if code is None:
        code = known[key] = _write(Function(loops, vector_bytes))
    return code


def generate_pairs(loops: Loops, vector_bytes: int) -> str:
    """Return IR of the same kernel, of the same results: longer, and faster where functions would wait.

    Raises
    ------
    RuntimeError
        It expects more numbers.
    """
    function = Function(loops, vector_bytes, pairs=True)
    # It may need them in another order, as it writes results later.
    expected = generate(loops, vector_bytes).parameters
    function.parameters.update({number: position for position, number in enumerate(expected)})
    code = _write(function)
    if code.parameters != expected:
        raise RuntimeError("the loops over two vectors at a time expect other numbers than those over one")
    return code.text


def _write(kernel: Function) -> Code:
    loops, module = kernel.loops, _Module(kernel)
    for t, phase in enumerate(loops.phases):
        _phase(module, t, phase)
    return module.code()


@final
class _Module:
    """A kernel's function, and those that it calls."""

    def __init__(self, kernel: Function) -> None:
        self.kernel = kernel
        #: Whether there are several nests.
        self.apart = sum([len(phase.nests) for phase in kernel.loops.phases]) > 1
        self.nests: dict[str, str] = {}
        self.combiners: dict[str, str] = {}

    def call(self, nests: Sequence[Nest], r0: str, r1: str) -> None:
        """Write a function of some nests, and its call; ``r0``, ``r1`` bound the block of rows.

        Functions of their own are compiled in less time than the same loops in one, and what only calls them
        need not be optimised.
        """
        kernel = self.kernel
        if not self.apart:
            for nest in nests:
                emit_nest(kernel, nest, r0, r1)
            return
        function = kernel.sibling()
        for nest in nests:
            emit_nest(function, nest, "%r0", "%r1")
        how = "noinline" if any([nest.labels for nest in nests]) else "noinline optnone"
        kernel.waits |= function.waits
        text = function.text(f"({_SHARED}, i64 %chunk, i64 %r0, i64 %r1) {how}")
        name = self.nests.setdefault(text, f"@nest{len(self.nests)}")
        arguments = f"ptr %p, ptr %n, ptr %ws, ptr %block, i64 {kernel.chunk or 0}, i64 {r0}, i64 {r1}"
        kernel.lines.append(f"  call void {name}({arguments})")

    def combine(self, combine: str, dtype: DType, parts: str, width: str) -> None:
        """Write the call of what combines the partial results of all chunks."""
        kernel = self.kernel
        name = f"@combine.{combine}.{dtype.name}"
        self.combiners[name] = combiner(name, combine, dtype, kernel.declares)
        kernel.lines.append(f"  call void {name}(ptr {parts}, i64 {kernel.number('chunks')}, i64 {width})")

    def code(self) -> Code:
        """Return the module."""
        kernel = self.kernel
        definitions, declares = vectormath.build(
            sorted(kernel.requests), avx512=kernel.vector_bytes == 64, avx2=kernel.vector_bytes == 32
        )
        nests = [f"define internal void {name}{text}" for text, name in self.nests.items()]
        how = "noinline optnone" if self.apart else ""
        own = kernel.text(f"({_SHARED}, i64 %first, i64 %last, i64 %lo, i64 %hi) {how}")
        parts = [*sorted({*declares, *kernel.declares}), definitions, *self.combiners.values(), *nests]
        return Code("\n".join([*parts, f"define void @kernel{own}"]), tuple(kernel.parameters), kernel.waits)


#: The arguments of all functions.
_SHARED = "ptr %p, ptr %n, ptr %ws, ptr %block"


def _phase(module: _Module, time: int, phase: Phase) -> None:
    """Emit one phase, which runs if it is among those asked for."""
    function = module.kernel
    sums = _row_sums(function.loops, time - 1) if time % 2 == 0 and time else []
    if not phase.nests and not sums:
        return
    name = f"phase{time}"
    begun = function.emit(f"icmp sle i64 %first, {time}")
    not_over = function.emit(f"icmp sge i64 %last, {time}")
    asked = function.emit(f"and i1 {begun}, {not_over}")
    function.lines.append(f"  br i1 {asked}, label %{name}, label %{name}.done")
    function.label(name)
    if phase.row:
        _row_phase(module, time, phase)
    else:
        for s in sums:
            _combine_partials(module, s)
        if phase.nests:
            module.call(phase.nests, "0", "0")
    function.branch(f"{name}.done")
    function.label(f"{name}.done")


def _row_phase(module: _Module, time: int, phase: Phase) -> None:
    """Emit the loop over the chunks of a range and, in each, over its blocks."""
    function = module.kernel
    chunk, rows, block = function.number("chunk"), function.number("rows"), function.number("block")
    function.chunk, close_chunks = function.open("%lo", "%hi", "1")
    first = function.emit(f"mul i64 {function.chunk}, {chunk}")
    last = function.minimum(function.emit(f"add i64 {first}, {chunk}"), rows)
    for s in _row_sums(function.loops, time):
        _fill_partials(function, s)
    r0, close_blocks = function.open(first, last, block)
    r1 = function.minimum(function.emit(f"add i64 {r0}, {block}"), last)
    for nest in phase.nests:
        module.call([nest], r0, r1)
    close_blocks()
    close_chunks()
    function.chunk = None


def _row_sums(loops: Loops, time: int) -> list[Statement]:
    """Return what a row phase reduces over its rows."""
    return [s for nest in loops.phases[time].nests for s in nest.statements if loops.is_row_sum(s.id)]


def _fill_partials(function: Function, s: Statement) -> None:
    """Set the partial results of a chunk to the identity."""
    dtype = function.loops.values[s.id].dtype
    assert s.combine is not None  # it is reduced
    memory = TYPES[dtype][1]
    start = function.partial_of_chunk(s.id)
    k, close = function.open("0", function.number("width", s.id), "1")
    address = function.emit(f"getelementptr {memory}, ptr {start}, i64 {k}")
    function.lines.append(f"  store {memory} {constant(identity(s.combine, dtype), dtype)}, ptr {address}")
    close()


def _combine_partials(module: _Module, s: Statement) -> None:
    """Combine what all chunks gave, and store it where the value belongs."""
    function = module.kernel
    dtype = function.loops.values[s.id].dtype
    width, parts = function.number("width", s.id), function.partials(s.id)
    assert s.combine is not None  # it is reduced
    module.combine(s.combine, dtype, parts, width)
    size = function.emit(f"mul i64 {width}, {dtype.itemsize}")
    function.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    function.lines.append(
        f"  call void @llvm.memcpy.p0.p0.i64(ptr {function.pointer(s.id)}, ptr {parts}, i64 {size}, i1 false)"
    )
