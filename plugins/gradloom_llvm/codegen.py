"""Codegen: the loops of a region as LLVM IR text, with explicit vectors.

A kernel is a family of functions, one per phase, and one that calls them in order:

- ``void @single<t>(ptr p, ptr n, ptr ws, ptr block)``
- ``void @row<t>(ptr p, ptr n, ptr ws, ptr block, i64 lo, i64 hi)`` for chunks ``lo`` to ``hi``
- ``void @run(ptr p, ptr n, ptr ws, ptr block)``

``p`` holds the addresses of the arguments, inputs first; ``n`` the numbers that depend on sizes,
in the order of `Code.parameters`; ``ws`` is workspace that all share, ``block`` workspace of one
thread. Sizes and strides stand in ``n``, so one kernel serves arrays of every size.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple, final

import numpy as np

from gradloom_llvm import vectormath
from gradloom_llvm.elementwise import EMITTERS, TYPES, Body, annihilating, cast, constant, integer_power
from gradloom_llvm.loops import Loops, Nest, Phase, Statement

DType = np.dtype[Any]
#: A number that depends on sizes: what it is, and of which value or label.
Parameter = tuple[Any, ...]


class Code(NamedTuple):
    """IR text, the numbers its functions expect in ``n``, and the phases that run over rows."""

    text: str
    parameters: tuple[Parameter, ...]


def generate(loops: Loops, vector_bytes: int, strided: frozenset[tuple[int, int]]) -> Code:
    """Return the code of a region's loops.

    Parameters
    ----------
    loops : Loops
    vector_bytes : int
        Width of a vector register.
    strided : frozenset of (value, label)
        Inputs whose innermost label does not step from element to element.
    """
    module = _Module(loops, vector_bytes, strided)
    functions = [_Function(module, t, phase).text() for t, phase in enumerate(loops.phases)]
    functions.append(_run(loops))
    definitions, declares = vectormath.build(sorted(module.requests))
    text = "\n".join([*sorted({*declares, *module.declares}), *module.helpers(), definitions, *functions])
    return Code(text, tuple(module.parameters))


def _run(loops: Loops) -> str:
    calls = []
    for t, phase in enumerate(loops.phases):
        if phase.row:
            calls.append(f"  call void @row{t}(ptr %p, ptr %n, ptr %ws, ptr %block, i64 0, i64 %chunks)")
        else:
            calls.append(f"  call void @single{t}(ptr %p, ptr %n, ptr %ws, ptr %block)")
    head = "define void @run(ptr %p, ptr %n, ptr %ws, ptr %block) nounwind {\n  %chunks = load i64, ptr %n"
    return "\n".join([head, *calls, "  ret void\n}"])


@final
class _Module:
    """What the functions of a kernel share: parameters, vector math, helpers."""

    def __init__(self, loops: Loops, vector_bytes: int, strided: frozenset[tuple[int, int]]) -> None:
        self.loops = loops
        self.vector_bytes = vector_bytes
        self.strided = strided
        self.parameters: list[Parameter] = [("chunks",), ("rows",), ("chunk",), ("block",)]
        self.requests: set[tuple[str, str, int]] = set()
        self.declares: set[str] = set()
        self._helpers: dict[str, str] = {}

    def parameter(self, key: Parameter) -> int:
        if key not in self.parameters:
            self.parameters.append(key)
        return self.parameters.index(key)

    def argument(self, i: int) -> int:
        """Return the position of a value among the addresses in ``p``."""
        loops = self.loops
        inputs = loops.region.inputs
        return inputs.index(i) if i in inputs else len(inputs) + loops.outputs.index(i)

    def helpers(self) -> list[str]:
        return list(self._helpers.values())

    def combiner(self, combine: str, dtype: DType) -> str:
        """Return the name of the function that combines partial results in a fixed tree."""
        name = f"combine.{combine}.{dtype.name}"
        if name not in self._helpers:
            body = Body(1, "t")
            kind, memory = TYPES[dtype.name]
            result = combine_values(body, combine, dtype, "%av", "%bv")
            self.declares |= body.declares
            self._helpers[name] = _COMBINER.format(
                name=name,
                memory=memory,
                vector=body.type(dtype),
                load_a=_load_one(dtype, "%a", "%ap"),
                load_b=_load_one(dtype, "%b", "%bp"),
                lines="\n".join(body.lines),
                store=_store_one(dtype, result, "%ap"),
            )
        return name

    def lanes(self, dtypes: Iterable[DType]) -> int:
        """Return how many lanes the widest of some dtypes leaves in a vector."""
        return self.vector_bytes // max([d.itemsize for d in dtypes if d.kind != "b"], default=4)


_COMBINER = """define internal void @{name}(ptr %parts, i64 %count, i64 %width) noinline nounwind {{
entry:
  br label %level
level:
  %step = phi i64 [ 1, %entry ], [ %step2, %leveldone ]
  %more = icmp ult i64 %step, %count
  br i1 %more, label %pairs, label %done
pairs:
  %i = phi i64 [ 0, %level ], [ %i2, %pairdone ]
  %j = add i64 %i, %step
  %inside = icmp ult i64 %j, %count
  br i1 %inside, label %row, label %leveldone
row:
  %iw = mul i64 %i, %width
  %jw = mul i64 %j, %width
  br label %element
element:
  %k = phi i64 [ 0, %row ], [ %k1, %body ]
  %left = icmp ult i64 %k, %width
  br i1 %left, label %body, label %pairdone
body:
  %ai = add i64 %iw, %k
  %bi = add i64 %jw, %k
  %ap = getelementptr {memory}, ptr %parts, i64 %ai
  %bp = getelementptr {memory}, ptr %parts, i64 %bi
{load_a}
{load_b}
{lines}
{store}
  %k1 = add i64 %k, 1
  br label %element
pairdone:
  %step2x = shl i64 %step, 1
  %i2 = add i64 %i, %step2x
  br label %pairs
leveldone:
  %step2 = shl i64 %step, 1
  br label %level
done:
  ret void
}}"""


def _load_one(dtype: DType, name: str, pointer: str) -> str:
    """Return lines that load a ``<1 x T>`` as ``name + "v"``."""
    kind, memory = TYPES[dtype.name]
    if dtype.kind == "b":
        return f"  {name}m = load <1 x i8>, ptr {pointer}, align 1\n  {name}v = trunc <1 x i8> {name}m to <1 x i1>"
    return f"  {name}v = load <1 x {kind}>, ptr {pointer}, align {dtype.itemsize}"


def _store_one(dtype: DType, value: str, pointer: str) -> str:
    kind, _ = TYPES[dtype.name]
    if dtype.kind == "b":
        return f"  %wide = zext <1 x i1> {value} to <1 x i8>\n  store <1 x i8> %wide, ptr {pointer}, align 1"
    return f"  store <1 x {kind}> {value}, ptr {pointer}, align {dtype.itemsize}"


# -- combining -------------------------------------------------------------------------------


def identity(combine: str, dtype: DType) -> Any:
    """Return the value that changes nothing when combined."""
    if combine == "add":
        return -0.0 if dtype.kind == "f" else 0
    if combine == "multiply":
        return 1
    if combine in ("any", "all"):
        return combine == "all"
    if dtype.kind == "b":
        return combine == "min"
    low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return low if combine == "max" else high


_COMBINING_OP = {"add": "add", "multiply": "multiply", "max": "maximum", "min": "minimum"}


def combine_values(body: Body, combine: str, dtype: DType, a: str, b: str) -> str:
    """Combine two vectors lane by lane."""
    if combine in ("any", "all"):
        return body.logic("or" if combine == "any" else "and", a, b)
    return EMITTERS[_COMBINING_OP[combine]](body, dtype, [dtype, dtype], a, b)


def combine_lanes(body: Body, combine: str, dtype: DType, a: str) -> str:
    """Combine the lanes of a vector, halves with halves, to a ``<1 x T>``."""
    lanes = body.lanes
    kind = TYPES[dtype.name][0]
    while lanes > 1:
        half = lanes // 2
        parts = []
        for start in (0, half):
            mask = ", ".join(f"i32 {start + k}" for k in range(half))
            vector = f"<{lanes} x {kind}>"
            parts.append(body.emit(f"shufflevector {vector} {a}, {vector} poison, <{half} x i32> <{mask}>"))
        narrow = Body(half, "")
        narrow.lines, narrow._prefix = body.lines, body._prefix
        a = combine_values(narrow, combine, dtype, *parts)
        body.declares |= narrow.declares
        lanes = half
    return a


# -- functions -------------------------------------------------------------------------------


@final
class _Function:
    """One phase as a function."""

    def __init__(self, module: _Module, time: int, phase: Phase) -> None:
        self.module = module
        self.loops = module.loops
        self.time = time
        self.phase = phase
        self.entry: list[str] = []
        self.lines: list[str] = []
        self._known: dict[Any, str] = {}
        self._counter = 0

    def text(self) -> str:
        rows = self.phase.row
        if rows:
            self._row_loops()
        else:
            self._combine_partials()
            for nest in self.phase.nests:
                self._nest(nest, "0", "0")
        name = f"{'row' if rows else 'single'}{self.time}"
        arguments = "ptr %p, ptr %n, ptr %ws, ptr %block" + (", i64 %lo, i64 %hi" if rows else "")
        body = "\n".join([*self.entry, "  br label %start", "start:", *self.lines])
        return f"define void @{name}({arguments}) nounwind {{\nentry:\n{body}\n  ret void\n}}"

    # -- names -----------------------------------------------------------------------------

    def fresh(self, word: str) -> str:
        self._counter += 1
        return f"{word}.{self._counter}"

    def emit(self, text: str) -> str:
        name = "%" + self.fresh("s")
        self.lines.append(f"  {name} = {text}")
        return name

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")

    def branch(self, target: str) -> None:
        self.lines.append(f"  br label %{target}")

    def _in_entry(self, key: Any, text: str) -> str:
        """Return a value computed once, at the start of the function."""
        if key not in self._known:
            name = "%" + self.fresh("e")
            self.entry.append(f"  {name} = {text}")
            self._known[key] = name
        return self._known[key]

    def number(self, *key: Any) -> str:
        """Return a number from ``n``."""
        position = self.module.parameter(key)
        address = self._in_entry(("address", key), f"getelementptr i64, ptr %n, i64 {position}")
        return self._in_entry(key, f"load i64, ptr {address}")

    def pointer(self, i: int) -> str:
        """Return the address of the first element of a value's storage."""
        place = self.loops.places[i]
        if place in ("input", "output"):
            position = self.module.argument(i)
            address = self._in_entry(("slot", i), f"getelementptr ptr, ptr %p, i64 {position}")
            return self._in_entry(("pointer", i), f"load ptr, ptr {address}")
        area = "%block" if place == "block" else "%ws"
        offset = self.number("offset", i)
        return self._in_entry(("pointer", i), f"getelementptr i8, ptr {area}, i64 {offset}")

    def partial(self, i: int) -> str:
        """Return the address of the partial results of a value that is reduced over rows."""
        offset = self.number("partial", i)
        return self._in_entry(("partials", i), f"getelementptr i8, ptr %ws, i64 {offset}")

    def stride(self, i: int, label: int) -> str:
        """Return the step of a value along a label, in elements."""
        value = self.loops.values[i]
        if label == value.labels[-1] and (i, label) not in self.module.strided:
            return "1"
        return self.number("stride", i, label)

    # -- rows ------------------------------------------------------------------------------

    def _row_loops(self) -> None:
        """Loop over the chunks of a range and over the blocks of each chunk."""
        chunk, rows, block = self.number("chunk"), self.number("rows"), self.number("block")
        c, close_chunks = self._open("%lo", "%hi", "1")
        first = self.emit(f"mul i64 {c}, {chunk}")
        last = self._minimum(self.emit(f"add i64 {first}, {chunk}"), rows)
        self._chunk = c
        self._fill_partials()
        r0, close_blocks = self._open(first, last, block)
        r1 = self._minimum(self.emit(f"add i64 {r0}, {block}"), last)
        for nest in self.phase.nests:
            self._nest(nest, r0, r1)
        close_blocks()
        close_chunks()

    def _minimum(self, a: str, b: str) -> str:
        less = self.emit(f"icmp ult i64 {a}, {b}")
        return self.emit(f"select i1 {less}, i64 {a}, i64 {b}")

    def _open(self, start: str, stop: str, step: str) -> tuple[str, Any]:
        """Open a loop and return its index and what closes it."""
        name = self.fresh("loop")
        before = self.fresh("before")
        self.branch(before)
        self.label(before)
        self.branch(name)
        self.label(name)
        index, following = f"%{name}.i", f"%{name}.next"
        self.lines.append(f"  {index} = phi i64 [ {start}, %{before} ], [ {following}, %{name}.latch ]")
        inside = self.emit(f"icmp slt i64 {index}, {stop}")
        self.lines.append(f"  br i1 {inside}, label %{name}.body, label %{name}.done")
        self.label(f"{name}.body")

        def close() -> None:
            self.branch(f"{name}.latch")
            self.label(f"{name}.latch")
            self.lines.append(f"  {following} = add i64 {index}, {step}")
            self.branch(name)
            self.label(f"{name}.done")

        return index, close

    def _row_sums(self) -> list[Statement]:
        return [s for nest in self.phase.nests for s in nest.statements if self.loops.is_row_sum(s.id)]

    def _fill_partials(self) -> None:
        """Set the partial results of a chunk to the identity."""
        for s in self._row_sums():
            value = self.loops.values[s.id]
            memory = TYPES[value.dtype.name][1]
            start = self._partial_of_chunk(s.id)
            k, close = self._open("0", self.number("width", s.id), "1")
            address = self.emit(f"getelementptr {memory}, ptr {start}, i64 {k}")
            self.lines.append(f"  store {memory} {self._identity(s)}, ptr {address}")
            close()

    def _identity(self, s: Statement) -> str:
        assert s.combine is not None
        dtype = self.loops.values[s.id].dtype
        return constant(identity(s.combine, dtype), dtype)

    def _partial_of_chunk(self, i: int) -> str:
        memory = TYPES[self.loops.values[i].dtype.name][1]
        offset = self.emit(f"mul i64 {self._chunk}, {self.number('width', i)}")
        return self.emit(f"getelementptr {memory}, ptr {self.partial(i)}, i64 {offset}")

    def _combine_partials(self) -> None:
        """Combine what the row phase before reduced over its rows."""
        if not self.time:
            return
        loops = self.loops
        for nest in loops.phases[self.time - 1].nests:
            for s in nest.statements:
                if not loops.is_row_sum(s.id):
                    continue
                value = loops.values[s.id]
                assert s.combine is not None
                width = self.number("width", s.id)
                name = self.module.combiner(s.combine, value.dtype)
                parts, target = self.partial(s.id), self.pointer(s.id)
                self.lines.append(f"  call void @{name}(ptr {parts}, i64 {self.number('chunks')}, i64 {width})")
                size = self.emit(f"mul i64 {width}, {value.dtype.itemsize}")
                self.module.declares.add("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
                self.lines.append(
                    f"  call void @llvm.memcpy.p0.p0.i64(ptr {target}, ptr {parts}, i64 {size}, i1 false)"
                )

    # -- nests -----------------------------------------------------------------------------

    def _nest(self, nest: Nest, r0: str, r1: str) -> None:
        for s in nest.statements:
            if s.combine and not self.loops.is_row_sum(s.id) and not self._at_once(nest, s):
                self._loop_nest(nest, _Filling(s), r0, r1)
        self._loop_nest(nest, None, r0, r1)

    def _at_once(self, nest: Nest, s: Statement) -> bool:
        """Return whether one run of the innermost loop reduces a value whole."""
        labels = self.loops.values[s.id].labels
        return bool(nest.labels) and set(nest.labels[:-1]) == set(labels)

    def _loop_nest(self, nest: Nest, filling: _Filling | None, r0: str, r1: str) -> None:
        labels = nest.labels if filling is None else self.loops.ordered(self.loops.values[filling.statement.id].labels)
        index: dict[int, str] = {}
        closes = []
        for label in labels[:-1]:
            start, stop = self._range(label, r0, r1)
            index[label], close = self._open(start, stop, "1")
            closes.append(close)
        emitter = _Innermost(self, nest, labels, index, r0, filling)
        if labels:
            emitter.loop(*self._range(labels[-1], r0, r1))
        else:
            emitter.once()
        self.module.requests |= emitter.requests
        self.module.declares |= emitter.declares
        for close in reversed(closes):
            close()

    def _range(self, label: int, r0: str, r1: str) -> tuple[str, str]:
        if self.phase.row and label == self.loops.row:
            return r0, r1
        return "0", self.number("size", label)


class _Filling(NamedTuple):
    """A pass that sets a reduced value to the identity."""

    statement: Statement


@final
class _Innermost:
    """The innermost loop of a nest: full vectors, then the rest under a mask."""

    def __init__(
        self,
        function: _Function,
        nest: Nest,
        labels: tuple[int, ...],
        index: dict[int, str],
        r0: str,
        filling: _Filling | None,
    ) -> None:
        self.function = function
        self.loops = function.loops
        self.nest = nest
        self.labels = labels
        self.index = index
        self.r0 = r0
        self.filling = filling
        self.inner = labels[-1] if labels else None
        self.statements = [] if filling is not None else nest.statements
        used = {i for s in self.statements for i in (s.id, *s.inputs) if i in self.loops.values}
        if filling is not None:
            used.add(filling.statement.id)
        dtypes = [self.loops.values[i].dtype for i in used]
        self.lanes = function.module.lanes(dtypes) if labels else 1
        self.requests: set[tuple[str, str, int]] = set()
        self.declares: set[str] = set()
        self.starts: dict[int, str] = {}
        self.splats: dict[int, str] = {}

    # -- where values are --------------------------------------------------------------------

    def start(self, i: int) -> str:
        """Return the address of a value for the outer indices, at innermost index zero."""
        if i in self.starts:
            return self.starts[i]
        function, loops = self.function, self.loops
        value = loops.values[i]
        memory = TYPES[value.dtype.name][1]
        in_partials = function.phase.row and loops.is_row_sum(i)
        pointer = function._partial_of_chunk(i) if in_partials else function.pointer(i)
        for label in value.labels:
            if label != self.inner:
                offset = self.index[label]
                if loops.places[i] == "block" and label == loops.row:
                    offset = function.emit(f"sub i64 {offset}, {self.r0}")
            elif loops.places[i] == "block" and label == loops.row:
                offset = function.emit(f"sub i64 0, {self.r0}")
            else:
                continue
            step = function.stride(i, label)
            if step != "1":
                offset = function.emit(f"mul i64 {offset}, {step}")
            pointer = function.emit(f"getelementptr {memory}, ptr {pointer}, i64 {offset}")
        self.starts[i] = pointer
        return pointer

    def splat(self, i: int) -> str:
        """Return a value that the innermost loop does not change, in every lane."""
        if i not in self.splats:
            value = self.loops.values[i]
            body = Body(self.lanes, "x" + self.function.fresh("b"))
            kind, memory = TYPES[value.dtype.name]
            loaded = body.emit(f"load {memory}, ptr {self.start(i)}, align {value.dtype.itemsize}")
            if value.dtype.kind == "b":
                loaded = body.emit(f"icmp ne i8 {loaded}, 0")
            vector = body.type(value.dtype)
            first = body.emit(f"insertelement {vector} poison, {kind} {loaded}, i64 0")
            zeros = ", ".join(["i32 0"] * self.lanes)
            self.splats[i] = body.emit(f"shufflevector {vector} {first}, {vector} poison, <{self.lanes} x i32> <{zeros}>")
            self.function.lines += body.lines
        return self.splats[i]

    # -- loops -------------------------------------------------------------------------------

    def once(self) -> None:
        """Emit the statements of a loop without labels."""
        run = _Run(self, "0", None, {})
        run.statements()
        self.function.lines += run.body.lines

    def loop(self, start: str, stop: str) -> None:
        """Emit the innermost loop from ``start`` to ``stop``."""
        function = self.function
        sums = self._register_sums()
        for s in self.statements:
            for i in (s.id, *s.inputs):
                if i in self.loops.values and self.loops.places[i] != "register":
                    self.start(i)
            for i in s.inputs:
                if i in self.loops.values and self.inner not in self.loops.values[i].labels:
                    self.splat(i)
        if self.filling is not None:
            self.start(self.filling.statement.id)
        name = function.fresh("vector")
        count = function.emit(f"sub i64 {stop}, {start}")
        full = function.emit(f"and i64 {count}, -{self.lanes}")
        end = function.emit(f"add i64 {start}, {full}")
        function.branch(name)
        function.label(name)
        some = function.emit(f"icmp slt i64 {start}, {end}")
        function.lines.append(f"  br i1 {some}, label %{name}.main, label %{name}.after")
        # Full vectors.
        function.label(f"{name}.main")
        index = f"%{name}.i"
        function.lines.append(f"  {index} = phi i64 [ {start}, %{name} ], [ {index}.next, %{name}.main.end ]")
        sofar = {}
        for i, zero in sums.items():
            sofar[i] = f"%{name}.sum{i}"
            kind = self._vector(i)
            function.lines.append(f"  {sofar[i]} = phi {kind} [ {zero}, %{name} ], [ {sofar[i]}.next, %{name}.main.end ]")
        run = _Run(self, index, None, sofar)
        run.statements()
        function.lines += run.body.lines
        function.branch(f"{name}.main.end")
        function.label(f"{name}.main.end")
        for i in sums:
            kind = self._vector(i)
            function.lines.append(f"  {sofar[i]}.next = {_identity_copy(kind, run.sums[i])}")
        function.lines.append(f"  {index}.next = add i64 {index}, {self.lanes}")
        more = function.emit(f"icmp slt i64 {index}.next, {end}")
        function.lines.append(f"  br i1 {more}, label %{name}.main, label %{name}.after")
        # The rest.
        function.label(f"{name}.after")
        for i, zero in sums.items():
            kind = self._vector(i)
            function.lines.append(
                f"  {sofar[i]}.after = phi {kind} [ {zero}, %{name} ], [ {sofar[i]}.next, %{name}.main.end ]"
            )
        rest = function.emit(f"icmp slt i64 {end}, {stop}")
        function.lines.append(f"  br i1 {rest}, label %{name}.tail, label %{name}.done")
        function.label(f"{name}.tail")
        mask = self._mask(function.emit(f"sub i64 {stop}, {end}"))
        tail = _Run(self, end, mask, {i: f"{sofar[i]}.after" for i in sums})
        tail.statements()
        function.lines += tail.body.lines
        function.branch(f"{name}.tail.end")
        function.label(f"{name}.tail.end")
        function.branch(f"{name}.done")
        function.label(f"{name}.done")
        for i in sums:
            kind = self._vector(i)
            function.lines.append(
                f"  {sofar[i]}.end = phi {kind} [ {sofar[i]}.after, %{name}.after ], [ {tail.sums[i]}, %{name}.tail.end ]"
            )
        self._store_sums({i: f"{sofar[i]}.end" for i in sums})

    def _mask(self, count: str) -> str:
        """Return the mask of the first lanes."""
        function, lanes = self.function, self.lanes
        first = function.emit(f"insertelement <{lanes} x i64> poison, i64 {count}, i64 0")
        zeros = ", ".join(["i32 0"] * lanes)
        counts = function.emit(f"shufflevector <{lanes} x i64> {first}, <{lanes} x i64> poison, <{lanes} x i32> <{zeros}>")
        steps = ", ".join(f"i64 {k}" for k in range(lanes))
        return function.emit(f"icmp slt <{lanes} x i64> <{steps}>, {counts}")

    def _vector(self, i: int) -> str:
        return f"<{self.lanes} x {TYPES[self.loops.values[i].dtype.name][0]}>"

    # -- sums in registers ---------------------------------------------------------------------

    def _register_sums(self) -> dict[int, str]:
        """Return the reductions over the innermost label, with the identity of each."""
        found = {}
        for s in self.statements:
            value = self.loops.values[s.id]
            if s.combine and self.inner not in value.labels:
                kind = TYPES[value.dtype.name][0]
                word = f"{kind} {constant(identity(s.combine, value.dtype), value.dtype)}"
                found[s.id] = f"<{', '.join([word] * self.lanes)}>"
        return found

    def _store_sums(self, sums: dict[int, str]) -> None:
        """Combine the lanes, and what was there before, into the place of each sum."""
        function = self.function
        for s in self.statements:
            if s.id not in sums:
                continue
            dtype = self.loops.values[s.id].dtype
            assert s.combine is not None
            body = Body(self.lanes, "x" + function.fresh("h"))
            total = combine_lanes(body, s.combine, dtype, sums[s.id])
            pointer = self.start(s.id)
            one = Body(1, "")
            one.lines, one._prefix = body.lines, body._prefix
            if function.loops.is_row_sum(s.id) or not function._at_once(self.nest, s):
                total = combine_values(one, s.combine, dtype, _load(one, dtype, pointer, None), total)
            _store(one, dtype, total, pointer, None)
            self.declares |= body.declares | one.declares
            function.lines += body.lines


def _identity_copy(kind: str, name: str) -> str:
    """Return an instruction that gives a value another name."""
    return f"freeze {kind} {name}"


@final
class _Run:
    """The statements of a nest for one vector of the innermost label."""

    def __init__(self, owner: _Innermost, position: str, mask: str | None, sums: dict[int, str]) -> None:
        self.owner = owner
        self.loops = owner.loops
        self.position = position
        self.mask = mask
        self.sums = dict(sums)
        self.body = Body(owner.lanes, "x" + owner.function.fresh("r"))
        self.known: dict[int, str] = {}

    def statements(self) -> None:
        filling = self.owner.filling
        if filling is not None:
            s = filling.statement
            dtype = self.loops.values[s.id].dtype
            assert s.combine is not None
            self._store(s.id, self.body.splat(identity(s.combine, dtype), dtype))
        for s in self.owner.statements:
            value = self._value(s)
            if s.combine is None:
                self.known[s.id] = value
                if self.loops.places[s.id] != "register":
                    self._store(s.id, value)
            else:
                self._reduce(s, value)
        self.owner.requests |= self.body.requests
        self.owner.declares |= self.body.declares

    # -- values ----------------------------------------------------------------------------------

    def _value(self, s: Statement) -> str:
        """Return a statement's value, of a reduction that of one point."""
        args = [self._read(i) for i in s.inputs]
        if s.op is None:
            return args[0]
        body = self.body
        dtypes = [self._dtype(i) for i in s.inputs]
        out = self.loops.values[s.id].dtype
        name = s.op.name
        if name in ("matmul", "annihilating_matmul"):
            a, b = [cast(body, v, d, out) for v, d in zip(args, dtypes, strict=True)]
            product = body.emit(f"fmul {body.type(out)} {a}, {b}")
            return product if name == "matmul" else annihilating(body, out, product, [(a, b)[s.attrs[0]]])
        if s.combine:
            return cast(body, args[0], dtypes[0], out)
        if name == "power":
            return self._power(s, out, args)
        emitter = EMITTERS.get(name)
        if emitter is None:
            return body.math(name, out, *args)
        if name == "astype":
            return cast(body, args[0], dtypes[0], out)
        return emitter(body, out, dtypes, *args)

    def _power(self, s: Statement, out: DType, args: list[str]) -> str:
        literal = self.loops.literals.get(s.inputs[1])
        if literal is not None:
            exponent = float(literal[0])
            if exponent in POWERS:
                return integer_power(self.body, out, args[0], int(exponent))
        return self.body.math("power", out, *args)

    def _dtype(self, i: int) -> DType:
        literal = self.loops.literals.get(i)
        return self.loops.values[i].dtype if literal is None else literal[1]

    def _read(self, i: int) -> str:
        literal = self.loops.literals.get(i)
        if literal is not None:
            return self.body.splat(literal[0], literal[1])
        if i not in self.known:
            self.known[i] = self._load(i)
        return self.known[i]

    # -- memory ----------------------------------------------------------------------------------

    def _load(self, i: int) -> str:
        owner = self.owner
        value = self.loops.values[i]
        if owner.inner is not None and owner.inner not in value.labels:
            return owner.splats[i]
        return _load(self.body, value.dtype, self._address(i), self.mask, self._step(i))

    def _store(self, i: int, vector: str) -> None:
        _store(self.body, self.loops.values[i].dtype, vector, self._address(i), self.mask, self._step(i))

    def _step(self, i: int) -> str:
        """Return the step of a value along the innermost label."""
        inner = self.owner.inner
        return "1" if inner is None else self.owner.function.stride(i, inner)

    def _address(self, i: int) -> str:
        start = self.owner.starts[i] if self.owner.inner is not None else self._scalar_address(i)
        if self.owner.inner is None:
            return start
        step = self._step(i)
        offset = self.position if step == "1" else self.body.emit(f"mul i64 {self.position}, {step}")
        memory = TYPES[self.loops.values[i].dtype.name][1]
        return self.body.emit(f"getelementptr {memory}, ptr {start}, i64 {offset}")

    def _scalar_address(self, i: int) -> str:
        return self.owner.function.pointer(i)

    # -- reductions ------------------------------------------------------------------------------

    def _reduce(self, s: Statement, value: str) -> None:
        """Combine a vector with the running result, in a register or in memory."""
        body = self.body
        dtype = self.loops.values[s.id].dtype
        assert s.combine is not None
        if s.id in self.sums:
            combined = combine_values(body, s.combine, dtype, self.sums[s.id], value)
            if self.mask is not None:
                combined = body.select(self.mask, dtype, combined, self.sums[s.id])
            self.sums[s.id] = combined
            return
        address, step = self._address(s.id), self._step(s.id)
        before = _load(body, dtype, address, self.mask, step)
        _store(body, dtype, combine_values(body, s.combine, dtype, before, value), address, self.mask, step)


#: Literal exponents whose powers are products.
POWERS = frozenset({-2.0, -1.0, 1.0, 2.0, 3.0, 4.0})


def _load(body: Body, dtype: DType, address: str, mask: str | None, step: str = "1") -> str:
    """Load a vector: whole, under a mask, or gathered."""
    kind = TYPES[dtype.name][1]
    vector = f"<{body.lanes} x {kind}>"
    if step != "1":
        pointers = _pointers(body, dtype, address, step)
        where = mask or f"<{', '.join(['i1 true'] * body.lanes)}>"
        name = f"llvm.masked.gather.v{body.lanes}{_suffix(dtype)}.v{body.lanes}p0"
        body.declares.add(f"declare {vector} @{name}(<{body.lanes} x ptr>, i32, <{body.lanes} x i1>, {vector})")
        loaded = body.emit(
            f"call {vector} @{name}(<{body.lanes} x ptr> {pointers}, i32 {dtype.itemsize}, "
            f"<{body.lanes} x i1> {where}, {vector} zeroinitializer)"
        )
    elif mask is not None:
        name = f"llvm.masked.load.v{body.lanes}{_suffix(dtype)}.p0"
        body.declares.add(f"declare {vector} @{name}(ptr, i32, <{body.lanes} x i1>, {vector})")
        loaded = body.emit(
            f"call {vector} @{name}(ptr {address}, i32 {dtype.itemsize}, <{body.lanes} x i1> {mask}, "
            f"{vector} zeroinitializer)"
        )
    else:
        loaded = body.emit(f"load {vector}, ptr {address}, align {dtype.itemsize}")
    return body.emit(f"icmp ne {vector} {loaded}, zeroinitializer") if dtype.kind == "b" else loaded


def _store(body: Body, dtype: DType, value: str, address: str, mask: str | None, step: str = "1") -> None:
    """Store a vector: whole, under a mask, or scattered."""
    kind = TYPES[dtype.name][1]
    vector = f"<{body.lanes} x {kind}>"
    if dtype.kind == "b":
        value = body.emit(f"zext <{body.lanes} x i1> {value} to {vector}")
    if step != "1":
        pointers = _pointers(body, dtype, address, step)
        where = mask or f"<{', '.join(['i1 true'] * body.lanes)}>"
        name = f"llvm.masked.scatter.v{body.lanes}{_suffix(dtype)}.v{body.lanes}p0"
        body.declares.add(f"declare void @{name}({vector}, <{body.lanes} x ptr>, i32, <{body.lanes} x i1>)")
        body.do(
            f"call void @{name}({vector} {value}, <{body.lanes} x ptr> {pointers}, i32 {dtype.itemsize}, "
            f"<{body.lanes} x i1> {where})"
        )
    elif mask is not None:
        name = f"llvm.masked.store.v{body.lanes}{_suffix(dtype)}.p0"
        body.declares.add(f"declare void @{name}({vector}, ptr, i32, <{body.lanes} x i1>)")
        body.do(f"call void @{name}({vector} {value}, ptr {address}, i32 {dtype.itemsize}, <{body.lanes} x i1> {mask})")
    else:
        body.do(f"store {vector} {value}, ptr {address}, align {dtype.itemsize}")


def _suffix(dtype: DType) -> str:
    return "i8" if dtype.kind == "b" else f"{dtype.kind}{8 * dtype.itemsize}"


def _pointers(body: Body, dtype: DType, address: str, step: str) -> str:
    """Return the addresses of the elements that stand a step apart."""
    lanes = body.lanes
    first = body.emit(f"insertelement <{lanes} x i64> poison, i64 {step}, i64 0")
    zeros = ", ".join(["i32 0"] * lanes)
    steps = body.emit(f"shufflevector <{lanes} x i64> {first}, <{lanes} x i64> poison, <{lanes} x i32> <{zeros}>")
    numbers = ", ".join(f"i64 {k}" for k in range(lanes))
    offsets = body.emit(f"mul <{lanes} x i64> {steps}, <{numbers}>")
    return body.emit(f"getelementptr {TYPES[dtype.name][1]}, ptr {address}, <{lanes} x i64> {offsets}")
