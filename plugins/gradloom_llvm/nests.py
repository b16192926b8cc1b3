"""Nests: the innermost loop of a nest over vectors, and the statements in it."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from gradloom_llvm import vectormath
from gradloom_llvm.combining import combine_lanes, combine_values, identity, taken
from gradloom_llvm.elementwise import (
    EMITTERS,
    TYPES,
    Body,
    annihilating,
    any_nan,
    cast,
    constant,
    in_every_lane,
    integer_power,
)
from gradloom_llvm.function import Function
from gradloom_llvm.memory import load, store
from gradloom_llvm.statements import Nest, Statement, Turn, is_written

DType = np.dtype[Any]
#: Literal exponents whose powers are products.
POWERS = frozenset({-2.0, -1.0, 1.0, 2.0, 3.0, 4.0})


def emit_nest(function: Function, nest: Nest, r0: str, r1: str) -> None:
    """Emit the loops of a nest; ``r0``, ``r1`` bound the block of rows."""
    if isinstance(nest.tile, Turn):
        from gradloom_llvm.turning import emit_turn  # few loops have any

        emit_turn(function, nest.statements[0], nest.tile, r0, r1)
        return
    if nest.tile is not None:
        from gradloom_llvm.tiles import emit_tiles

        emit_tiles(function, nest.statements[0], nest.tile, r0, r1)
        return
    for s in nest.statements:
        if s.combine and not function.loops.is_row_sum(s.id) and not _at_once(function, nest, s):
            _emit_loops(function, nest, s, r0, r1)
    _emit_loops(function, nest, None, r0, r1)


def _emit_loops(function: Function, nest: Nest, filled: Statement | None, r0: str, r1: str) -> None:
    """Emit a nest, or the loops that set the value of one of its reductions to the identity."""
    loops = function.loops
    labels = nest.labels if filled is None else loops.ordered(loops.values[filled.id].labels)
    index: dict[int, str] = {}
    closes = []
    for label in labels[:-1]:
        index[label], close = function.open(*function.range(label, r0, r1), "1")
        closes.append(close)
    innermost = Innermost(function, nest, labels, index, r0, filled)
    if labels:
        innermost.loop(*function.range(labels[-1], r0, r1))
    else:
        innermost.once()
    for close in reversed(closes):
        close()


def _at_once(function: Function, nest: Nest, s: Statement) -> bool:
    """Return whether one run of the innermost loop reduces a value whole."""
    return bool(nest.labels) and set(nest.labels[:-1]) == set(function.loops.values[s.id].labels)


@final
class Innermost:
    """The innermost loop of a nest: full vectors, then the rest under a mask."""

    def __init__(
        self,
        function: Function,
        nest: Nest,
        labels: tuple[int, ...],
        index: dict[int, str],
        r0: str,
        filled: Statement | None,
    ) -> None:
        self.function = function
        self.loops = function.loops
        self.nest = nest
        self.labels = labels
        self.index = index
        self.r0 = r0
        self.filled = filled
        self.inner = labels[-1] if labels else None
        self.statements = [] if filled is not None else nest.statements
        used = {i for s in self.statements for i in (s.id, *s.inputs) if i in self.loops.values}
        if filled is not None:
            used.add(filled.id)
        dtypes = [self.loops.values[i].dtype for i in used]
        self.lanes = function.lanes(dtypes) if labels else 1
        self.lanes_of_sums = self.lanes
        self.starts: dict[int, str] = {}
        self.splats: dict[int, str] = {}

    # -- where values are --------------------------------------------------------------------

    def start(self, i: int) -> str:
        """Return the address of a value for the outer indices, at innermost index zero."""
        if i not in self.starts:
            # Later phases read the total.
            partial = self.loops.is_row_sum(i) and any([s.id == i for s in self.nest.statements])
            self.starts[i] = self.function.address(i, self.index, self.r0, partial)
        return self.starts[i]

    def splat(self, i: int) -> str:
        """Return a value that the innermost loop does not change, in every lane."""
        if i not in self.splats:
            value = self.loops.values[i]
            body = Body(self.lanes, "x" + self.function.fresh("b"))
            kind, memory = TYPES[value.dtype]
            loaded = body.emit(f"load {memory}, ptr {self.start(i)}, align {value.dtype.itemsize}")
            if value.dtype.kind == "b":
                loaded = body.emit(f"icmp ne i8 {loaded}, 0")
            self.splats[i] = in_every_lane(body.emit, kind, self.lanes, loaded)
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
        self._prepare()
        function = self.function
        name = function.fresh("vector")
        sums = self._register_sums()
        if function.masks:
            _, ends = self._vectors(name, start, stop, sums, masked_to=stop)
        else:
            if self._waits():
                function.waits = True
                if function.pairs:
                    start, sums = self._in_pairs()._whole_vectors(f"{name}.pairs", start, stop, sums)
            start, sums = self._whole_vectors(name, start, stop, sums)
            _, ends = self._vectors(f"{name}.rest", start, stop, sums, masked_to=stop)
        self._store_sums(ends)

    def _waits(self) -> bool:
        """Return whether functions, long chains of instructions, leave a processor waiting that does one at a time."""
        return any([s.op is not None and s.op.name in vectormath.names() for s in self.statements])

    def _in_pairs(self) -> Innermost:
        """Return this loop over twice as many lanes; sums take one half after the other, to the same bits.

        It hopes that no product is NaN, as where a zero annihilates: where one is, it leaves the rest to the loop over
        single vectors.
        """
        pairs = Innermost(self.function, self.nest, self.labels, self.index, self.r0, self.filled)
        pairs.lanes = 2 * self.lanes
        pairs.starts = self.starts
        pairs._prepare()
        return pairs

    def _whole_vectors(self, name: str, start: str, stop: str, sums: dict[int, str]) -> tuple[str, dict[int, str]]:
        """Emit a loop over vectors that need no mask; return where it ends, and the names of the sums there."""
        function = self.function
        count = function.emit(f"sub i64 {stop}, {start}")
        full = function.emit(f"and i64 {count}, -{self.lanes}")
        end = function.emit(f"add i64 {start}, {full}")
        return self._vectors(name, start, end, sums, masked_to=None)

    def _prepare(self) -> None:
        """Compute before the loop what it does not change."""
        values, places = self.loops.values, self.loops.places
        for s in self.statements:
            for i in (s.id, *s.inputs):
                if i in values and places[i] != "register":
                    self.start(i)
                    if i != s.id and self.inner not in values[i].labels:
                        self.splat(i)
        if self.filled is not None:
            self.start(self.filled.id)

    def _vectors(
        self, name: str, start: str, stop: str, sums: dict[int, str], masked_to: str | None
    ) -> tuple[str, dict[int, str]]:
        """Emit a loop over vectors; return where it ends, and the names of the sums there."""
        function = self.function
        lines = function.lines
        index, end = f"%{name}.i", f"{name}.end"
        some = function.emit(f"icmp slt i64 {start}, {stop}")
        function.branch(f"{name}.start")
        function.label(f"{name}.start")
        lines.append(f"  br i1 {some}, label %{name}.main, label %{name}.done")
        function.label(f"{name}.main")
        phi, *opaque = function.index(index, f"[ {start}, %{name}.start ], [ {index}.next, %{end} ]")
        lines.append(phi)
        sofar = {i: f"%{name}.sum{i}" for i in sums}
        for i, before in sums.items():
            lines.append(
                f"  {sofar[i]} = phi {self._vector(i)} [ {before}, %{name}.start ], [ {sofar[i]}.next, %{end} ]"
            )
        lines += opaque
        mask = None if masked_to is None else self._mask(function.emit(f"sub i64 {masked_to}, {index}"))
        run = _Run(self, index, mask, sofar)
        left = run.statements(f"{name}.doubt", f"{name}.done")
        lines += run.body.lines
        function.branch(end)
        function.label(end)
        for i in sums:
            # Another name for a value, which stands in the block that jumps back.
            lines.append(f"  {sofar[i]}.next = bitcast {self._vector(i)} {run.sums[i]} to {self._vector(i)}")
        lines.append(f"  {index}.next = add i64 {index}, {self.lanes}")
        more = function.emit(f"icmp slt i64 {index}.next, {stop}")
        lines.append(f"  br i1 {more}, label %{name}.main, label %{name}.done")
        function.label(f"{name}.done")

        def after(kind: str, value: str, before: str) -> str:
            early = f", [ {value}, %{name}.doubt ]" if left else ""
            lines.append(f"  {value}.done = phi {kind} [ {before}, %{name}.start ], [ {value}.next, %{end} ]{early}")
            return f"{value}.done"

        return after("i64", index, start), {i: after(self._vector(i), sofar[i], sums[i]) for i in sums}

    def _mask(self, count: str) -> str:
        """Return the mask of the first lanes."""
        function, lanes = self.function, self.lanes
        counts = in_every_lane(function.emit, "i64", lanes, count)
        steps = ", ".join(f"i64 {k}" for k in range(lanes))
        return function.emit(f"icmp slt <{lanes} x i64> <{steps}>, {counts}")

    def _vector(self, i: int) -> str:
        """Return the type of a sum's vector."""
        return f"<{self.lanes_of_sums} x {TYPES[self.loops.values[i].dtype][0]}>"

    # -- sums in registers ---------------------------------------------------------------------

    def _register_sums(self) -> dict[int, str]:
        """Return the reductions over the innermost label, with the identity of each."""
        found = {}
        for s in self.statements:
            value = self.loops.values[s.id]
            if s.combine and self.inner not in value.labels:
                kind = TYPES[value.dtype][0]
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
            one = body.narrowed(1)
            if function.loops.is_row_sum(s.id) or not _at_once(function, self.nest, s):
                total = combine_values(one, s.combine, dtype, load(one, dtype, pointer, None), total)
            store(one, dtype, total, pointer, None)
            function.declares |= body.declares
            function.lines += body.lines


@final
class _Run:
    """The statements of a nest for one vector of the innermost label."""

    def __init__(self, owner: Innermost, position: str, mask: str | None, sums: dict[int, str]) -> None:
        self.owner = owner
        self.loops = owner.loops
        self.position = position
        self.mask = mask
        self.sums = dict(sums)
        self.body = Body(owner.lanes, "x" + owner.function.fresh("r"), owner.lanes > owner.lanes_of_sums)
        self.known: dict[int, str] = {}
        #: What is written when it is known to be right.
        self.waiting: list[tuple[Statement, str]] = []

    def statements(self, check: str = "", leave: str = "") -> bool:
        """Emit the statements; return whether there are products in doubt.

        Parameters
        ----------
        check : str
            Name of the block in which the doubts are settled, before anything is written.
        leave : str
            The block that follows where they are not.
        """
        s = self.owner.filled
        if s is not None:
            dtype = self.loops.values[s.id].dtype
            assert s.combine is not None
            self._store(s.id, self.body.splat(identity(s.combine, dtype), dtype))
        for s in self.owner.statements:
            value = self._value(s)
            if s.combine is None:
                self.known[s.id] = value
            if s.id in self.sums:
                self._add(s, value)
            elif self.body.hoped is not None:
                self.waiting.append((s, value))
            else:
                self._write(s, value)
        doubts = self.body.hoped
        if doubts:
            self.body.do(f"br label %{check}")
            self.body.lines.append(f"{check}:")
            self.body.do(f"br i1 {any_nan(self.body, doubts)}, label %{leave}, label %{check}.none")
            self.body.lines.append(f"{check}.none:")
        for s, value in self.waiting:
            self._write(s, value)
        self.owner.function.requests |= self.body.requests
        self.owner.function.declares |= self.body.declares
        return bool(doubts)

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
            if name == "annihilating_matmul":
                product = annihilating(body, out, product, [(a, b)[s.attrs[0]]])
            # A sum begins with 0.0, also where it has one term.
            return product if s.combine else body.emit(f"fadd {body.type(out)} {product}, {body.splat(0.0, out)}")
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
            if exponent == 0.5:  # as in NumPy, also at -0.0 and -inf
                return self.body.intrinsic("sqrt", out, args[0])
        return self.body.math("power", out, *args)

    def _dtype(self, i: int) -> DType:
        literal = self.loops.literals.get(i)
        return self.loops.values[i].dtype if literal is None else literal[1]

    def _read(self, i: int) -> str:
        literal = self.loops.literals.get(i)
        if literal is not None:
            if is_written(literal[0]):
                return self.body.splat(literal[0], literal[1])
            return self.owner.function.literal(i, self.body.lanes)
        if i not in self.known:
            self.known[i] = self._load(i)
        return self.known[i]

    # -- memory ----------------------------------------------------------------------------------

    def _load(self, i: int) -> str:
        owner = self.owner
        value = self.loops.values[i]
        if owner.inner is not None and owner.inner not in value.labels:
            return owner.splats[i]
        return load(self.body, value.dtype, self._address(i), self.mask, self._step(i))

    def _store(self, i: int, vector: str) -> None:
        store(self.body, self.loops.values[i].dtype, vector, self._address(i), self.mask, self._step(i))

    def _step(self, i: int) -> str:
        """Return the step of a value along the innermost label."""
        inner = self.owner.inner
        return "1" if inner is None else self.owner.function.stride(i, inner)

    def _address(self, i: int) -> str:
        if self.owner.inner is None:
            return self.owner.function.pointer(i)
        start, step = self.owner.starts[i], self._step(i)
        offset = self.position if step == "1" else self.body.emit(f"mul i64 {self.position}, {step}")
        memory = TYPES[self.loops.values[i].dtype][1]
        return self.body.emit(f"getelementptr {memory}, ptr {start}, i64 {offset}")

    # -- reductions ------------------------------------------------------------------------------

    def _add(self, s: Statement, value: str) -> None:
        """Combine a vector with the running result in a register."""
        dtype = self.loops.values[s.id].dtype
        assert s.combine is not None
        combined = self._combined(s.combine, dtype, self.sums[s.id], value)
        if self.mask is not None:
            combined = self.body.select(self.mask, dtype, combined, self.sums[s.id])
        self.sums[s.id] = combined

    def _write(self, s: Statement, value: str) -> None:
        """Store a vector, or combine it with the running result in memory."""
        body = self.body
        dtype = self.loops.values[s.id].dtype
        if s.combine is None:
            if self.loops.places[s.id] != "register":
                self._store(s.id, value)
            return
        address, step = self._address(s.id), self._step(s.id)
        before = load(body, dtype, address, self.mask, step)
        store(body, dtype, combine_values(body, s.combine, dtype, before, value), address, self.mask, step)

    def _combined(self, combine: str, dtype: DType, total: str, value: str) -> str:
        """Return a sum and a vector combined: one after the other with as many lanes of it as the sum has."""
        body, lanes = self.body, self.owner.lanes_of_sums
        if body.lanes == lanes:
            return combine_values(body, combine, dtype, total, value)
        narrow, kind = body.narrowed(lanes), body.type(dtype)
        for first in range(0, body.lanes, lanes):
            part = body.emit(taken(kind, value, "poison", range(first, first + lanes)))
            total = combine_values(narrow, combine, dtype, total, part)
        return total
