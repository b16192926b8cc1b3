"""Scalars: a region of small values as a program for the tape, one instruction a number.

Each value is an array of positions on the tape, so ops that only move elements cost nothing:
NumPy's own kernels move the positions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, final

import numpy as np

from gradloom.backend import backends
from gradloom.graph import INPUT, LITERAL, Graph, literal_key
from gradloom.op import Op, ops
from gradloom.spec import Spec
from gradloom_llvm.jobs import Job
from gradloom_llvm.tape import FUNCTIONS, INSTRUCTIONS, KINDS, OPCODES, machine

#: Values of at most this many elements are taken apart.
SMALL = 32
#: Ops that move elements.
MOVES = frozenset(
    "reshape broadcast_to transpose concatenate flip getitem gather index_set positive stop_gradient".split()
)
_FOLDS = {
    "sum": "add",
    "prod": "multiply",
    "max": "maximum",
    "min": "minimum",
    "any": "logical_or",
    "all": "logical_and",
}
_SAME = {
    "bitwise_and": "logical_and",
    "bitwise_or": "logical_or",
    "bitwise_xor": "logical_xor",
    "invert": "logical_not",
}
_SINGLE = np.dtype(np.float32)
#: Ops whose results need no rounding, where their arguments are numbers of float32.
_EXACT = frozenset(
    "negative absolute sign floor ceil trunc rint maximum minimum fmax fmin copysign where max min".split()
)

Positions = np.ndarray[Any, np.dtype[np.int32]]


def fits_tape(spec: Spec) -> bool:
    """Return whether a value can be taken apart."""
    return 0 < spec.size <= SMALL and spec.dtype in KINDS


def begin_machine(names: Collection[str]) -> None:
    """Begin, when LLVM has started, with the machine that programs of some ops are likely to need."""
    instructions = {_FOLDS.get(name) or _SAME.get(name) or name for name in names}
    if "annihilating_matmul" in names:
        instructions.add("annihilating_by_first")
    opcodes = [opcode for opcode, (name, _, _) in enumerate(INSTRUCTIONS) if name in instructions]
    Job(lambda: machine(opcodes)).begin()


def takes_apart(op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> bool:
    """Return whether an op of small values can be taken apart into instructions."""
    if not all([fits_tape(s) for s in (*specs, out)]):
        return False
    name = op.name
    kinds = "".join(["b" if s.dtype.kind == "b" else "f" for s in specs])
    if name in MOVES or name == "index_add":
        return len(specs) == 1 or name == "concatenate" or (name.startswith("index") and len(specs) == 2)
    if name in ("matmul", "annihilating_matmul"):
        return "b" not in kinds and max([s.ndim for s in specs]) <= 2
    if name in _FOLDS:
        return (kinds == "b") == (name in ("any", "all")) and bool(specs[0].ndim)
    if name == "where":
        return kinds[0] == "b" and kinds[1] == kinds[2]
    if name == "astype" or (name == "power" and "b" not in kinds):
        return True
    return (_SAME.get(name, name), kinds) in OPCODES or (name in FUNCTIONS and "b" not in kinds)


@final
class Program:
    """A region whose nodes `takes_apart` accepts, as instructions.

    Attributes
    ----------
    words : ndarray of int32
        The instructions.
    constants : ndarray of float64
        What stands at the beginning of the tape.
    outputs : ndarray of int32
        Where the outputs end up.
    functions : tuple of str
        Those that are called.
    length : int
        Of the tape.
    """

    def __init__(self, region: Graph) -> None:
        self._region = region
        self._words: list[int] = []
        self._functions: dict[str, int] = {}
        self._constants: dict[Any, int] = {}
        self._values: list[Any] = [None] * len(region.nodes)
        self._kinds = ["b" if s.dtype.kind == "b" else "f" for s in region.specs]
        #: Kernels of moves, where indices lead, and writers of instructions, which the steps of an unrolled loop share.
        self._known: dict[Any, Any] = {}
        self._place_literals()
        self._place_inputs()
        values = self._values
        for i, (op, inputs, attrs) in enumerate(region.nodes):
            if op is not INPUT and op is not LITERAL:
                value = self._node(op, [values[j] for j in inputs], attrs, inputs, region.specs[i])
                rounds = region.specs[i].dtype == _SINGLE and op.name not in MOVES and op.name not in _EXACT
                values[i] = self._rounded(value) if rounds else value
        self.words = np.array(self._words, np.int32)
        self.constants = np.array([value for _, value in self._constants], np.float64)
        self.outputs = np.concatenate([np.asarray(values[i], np.int32).reshape(-1) for i in region.outputs])
        self.functions = tuple(self._functions)
        self.length = self._next

    # -- where things are ------------------------------------------------------------------

    def _place_literals(self) -> None:
        for value in (1.0, -0.0):
            self._constant(value)
        self._zero = self._constant(0.0)
        for i, (op, _, attrs) in enumerate(self._region.nodes):
            if op is LITERAL:
                self._values[i] = self._constant(float(attrs[0].dtype.type(self._region.literals[attrs[1]])))
        self._next = len(self._constants)

    def _constant(self, value: float) -> int:
        return self._constants.setdefault(
            (literal_key(value), value if value == value else np.nan), len(self._constants)
        )

    def _place_inputs(self) -> None:
        for i in self._region.inputs:
            spec = self._region.specs[i]
            positions = np.arange(self._next, self._next + spec.size, dtype=np.int32).reshape(spec.shape)
            self._values[i] = positions if spec.shape else self._next
            self._next += spec.size

    # -- instructions ------------------------------------------------------------------------

    def _emit(self, opcode: int, a: int, b: int = 0, c: int = 0) -> int:
        result = self._next
        self._next = result + 1
        self._words += (opcode, result, a, b, c)
        return result

    def _node(self, op: Op, args: list[Any], attrs: tuple[Any, ...], inputs: tuple[int, ...], spec: Spec) -> Any:
        name = op.name
        if name in MOVES:
            found = self._known.get((op, attrs))
            if found is None:
                found = self._known[op, attrs] = backends.get("numpy").kernel(op, attrs)
            kernel, keywords = found
            moved = kernel(*[np.asarray(a, np.int32) for a in args], **keywords)
            return moved if spec.shape else int(moved)
        if name == "index_add":
            return self._index_add(op, args, attrs)
        if name in ("matmul", "annihilating_matmul"):
            return self._product(name, args, attrs, spec)
        if name in _FOLDS:
            return self._fold(_FOLDS[name], args[0], *attrs, spec=spec)
        kinds = "".join([self._kinds[i] for i in inputs])
        key = name, kinds, spec.dtype.kind, inputs[1] if name == "power" else None
        write = self._known.get(key)
        if write is None:
            write = self._known[key] = self._instruction(name, kinds, inputs, spec)
        if not spec.shape:
            return write(*args)
        flat = [a.reshape(-1).tolist() for a in np.broadcast_arrays(*args)]
        if len(flat[0]) < spec.size:
            flat = [np.broadcast_to(a, spec.shape).reshape(-1).tolist() for a in args]
        return np.array([write(*each) for each in zip(*flat, strict=True)], np.int32).reshape(spec.shape)

    def _rounded(self, value: Any) -> Any:
        """Return a value of float32: products and sums of several terms are rounded once."""
        single = OPCODES["single", "f"]
        if isinstance(value, int):
            return self._emit(single, value)
        return np.array([self._emit(single, a) for a in value.reshape(-1).tolist()], np.int32).reshape(value.shape)

    def _instruction(self, name: str, kinds: str, inputs: tuple[int, ...], spec: Spec) -> Callable[..., int]:
        """Return what writes the instruction of an elementwise op for one element."""
        emit = self._emit
        if name == "where":
            where = OPCODES["where", "bff"]
            return lambda condition, a, b: emit(where, condition, a, b)
        if name == "astype":
            if kinds == "f" and spec.dtype.kind == "b":
                differs, zero = OPCODES["not_equal", "ff"], self._constants[literal_key(-0.0), -0.0]
                return lambda a: emit(differs, a, zero)
            return lambda a: int(a)
        if name == "power":
            return self._power(inputs[1])
        opcode = OPCODES.get((_SAME.get(name, name), kinds))
        if opcode is not None:
            return lambda *args: emit(opcode, *args)
        number = self._functions.setdefault(name, len(self._functions))
        call = OPCODES["call", kinds]
        if kinds == "f":
            return lambda a: emit(call, a, 0, number)
        return lambda a, b: emit(call, a, b, number)

    def _power(self, exponent: int) -> Callable[..., int]:
        op, _, attrs = self._region.nodes[exponent]
        value = float(attrs[0].dtype.type(self._region.literals[attrs[1]])) if op is LITERAL else 0.0
        emit, square, multiply = self._emit, OPCODES["square", "f"], OPCODES["multiply", "ff"]
        if value == 1.0:
            return lambda a, b: int(a)
        if value == 2.0:
            return lambda a, b: emit(square, a)
        if value == 3.0:
            return lambda a, b: emit(multiply, emit(square, a), a)
        if value in (-1.0, 0.5):  # a root as in NumPy, also at -0.0 and -inf
            opcode = OPCODES["reciprocal" if value < 0 else "sqrt", "f"]
            return lambda a, b: emit(opcode, a)
        number, call = self._functions.setdefault("power", len(self._functions)), OPCODES["call", "ff"]
        return lambda a, b: emit(call, a, b, number)

    def _fold(self, name: str, x: Any, axis: tuple[int, ...], keepdims: bool, *, spec: Spec) -> Any:
        """Reduce axes, element by element in order."""
        kept = [k for k in range(x.ndim) if k not in axis]
        rows = x.transpose([*kept, *axis]).reshape(spec.size, -1).tolist()
        opcode = OPCODES[name, "bb" if name.startswith("logical") else "ff"]
        results = []
        for first, *rest in rows:
            # A sum starts at zero: that of negative zeros is positive.
            total = self._emit(opcode, self._zero, first) if name == "add" else first
            for position in rest:
                total = self._emit(opcode, total, position)
            results.append(total)
        return np.array(results, np.int32).reshape(spec.shape) if spec.shape else results[0]

    def _product(self, name: str, args: list[Any], attrs: tuple[Any, ...], spec: Spec) -> Any:
        a, b = args
        rows = a.reshape(1, -1) if a.ndim == 1 else a
        columns = b.reshape(-1, 1) if b.ndim == 1 else b
        swap = name == "annihilating_matmul" and attrs[0] == 1
        multiply = OPCODES["multiply" if name == "matmul" else "annihilating_by_first", "ff"]
        add = OPCODES["add", "ff"]
        results = []
        for row in rows.tolist():
            for column in columns.T.tolist():
                total = self._zero
                for left, right in zip(row, column, strict=True):
                    term = self._emit(multiply, right, left) if swap else self._emit(multiply, left, right)
                    total = self._emit(add, total, term)
                results.append(total)
        return np.array(results, np.int32).reshape(spec.shape) if spec.shape else results[0]

    def _index_add(self, op: Op, args: list[Any], attrs: tuple[Any, ...]) -> Any:
        base, values = np.array(args[0], np.int32, order="C"), np.asarray(args[1], np.int32)
        flat, add = base.reshape(-1), OPCODES["add", "ff"]
        where = self._known.get((op, attrs, base.shape))
        if where is None:
            getitem, _ = backends.get("numpy").kernel(ops["getitem"], (op.attr_dict(attrs)["index"],))
            numbers = np.arange(base.size).reshape(base.shape)
            where = self._known[op, attrs, base.shape] = np.asarray(getitem(numbers)).reshape(-1).tolist()
        for position, value in zip(where, values.reshape(-1).tolist(), strict=True):
            flat[position] = self._emit(add, int(flat[position]), value)
        return base
