"""Elementwise ops as LLVM IR on vectors: arithmetic and logic; the rest calls vector math.

Each emitter takes a `Body`, the dtypes of the arguments and of the result, and the names of the
arguments' IR values; it returns the name of the result's. Booleans are vectors of ``i1``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from typing import Any, final

import numpy as np

from gradloom_llvm import vectormath
from gradloom_llvm.vectormath import vector

DType = np.dtype[Any]

#: IR type of a dtype in a register, and in memory.
TYPES: Mapping[DType, tuple[str, str]] = {
    np.dtype(np.float64): ("double", "double"),
    np.dtype(np.float32): ("float", "float"),
    np.dtype(np.int64): ("i64", "i64"),
    np.dtype(np.int32): ("i32", "i32"),
    np.dtype(bool): ("i1", "i8"),
}
DTYPES = frozenset(TYPES)


def constant(value: Any, dtype: DType) -> str:
    """Return a scalar as an IR constant."""
    return _constant(value, dtype, str(value))


@lru_cache(maxsize=1024)
def _constant(value: Any, dtype: DType, text: str) -> str:
    # Without the text, zeros of both signs would have one word: they are equal.
    if dtype.kind == "f":
        # A float is written as the double that equals it, in hexadecimal digits of its bits.
        return f"0x{np.float64(dtype.type(value)).view(np.uint64):016X}"
    return str(int(dtype.type(value)))


def in_every_lane(emit: Callable[[str], str], kind: str, lanes: int, scalar: str) -> str:
    """Return a vector of a scalar; ``emit`` appends an instruction and returns its name."""
    if lanes == 1:
        return scalar
    vector = f"<{lanes} x {kind}>"
    first = emit(f"insertelement {vector} poison, {kind} {scalar}, i64 0")
    return emit(f"shufflevector {vector} {first}, {vector} poison, <{lanes} x i32> zeroinitializer")


@final
class Body:
    """Straight-line code on vectors of a number of lanes; one lane is a scalar."""

    def __init__(self, lanes: int, prefix: str, hopes: bool = False) -> None:
        self.lanes = lanes
        #: Products that are right unless they are NaN, which is found out later; None where each must be right.
        self.hoped: list[tuple[DType, str]] | None = [] if hopes else None
        self.lines: list[str] = []
        self.requests: set[tuple[str, str, int]] = set()
        self.declares: set[str] = set()
        self._prefix = prefix

    def narrowed(self, lanes: int) -> Body:
        """Return the same code, to go on with on vectors of fewer lanes."""
        other = Body(lanes, self._prefix)
        other.lines, other.requests, other.declares = self.lines, self.requests, self.declares
        return other

    def emit(self, text: str) -> str:
        """Append an instruction and return the name of its value."""
        name = f"%{self._prefix}_{len(self.lines)}"  # the stroke keeps "x1" and 11 from "x11" and 1
        self.lines.append(f"  {name} = {text}")
        return name

    def do(self, text: str) -> None:
        """Append an instruction without a value."""
        self.lines.append("  " + text)

    def type(self, dtype: DType) -> str:
        """Return the vector type of a dtype."""
        return vector(TYPES[dtype][0], self.lanes)

    def splat(self, value: Any, dtype: DType) -> str:
        """Return a constant vector."""
        word = constant(value, dtype)
        return word if self.lanes == 1 else f"<{', '.join([f'{TYPES[dtype][0]} {word}'] * self.lanes)}>"

    def intrinsic(self, name: str, dtype: DType, *args: str) -> str:
        """Call an LLVM intrinsic on vectors of one type."""
        kind = self.type(dtype)
        suffix = ("" if self.lanes == 1 else f"v{self.lanes}") + dtype.kind + str(8 * dtype.itemsize)
        self.declares.add(f"declare {kind} @llvm.{name}.{suffix}({', '.join([kind] * len(args))})")
        return self.emit(f"call {kind} @llvm.{name}.{suffix}({', '.join(f'{kind} {a}' for a in args)})")

    def math(self, op: str, dtype: DType, *args: str) -> str:
        """Call a function of vector math."""
        kind = self.type(dtype)
        self.requests.add((op, dtype.name, self.lanes))
        name = vectormath.function_name(op, dtype.name, self.lanes)
        return self.emit(f'call {kind} @"{name}"({", ".join(f"{kind} {a}" for a in args)})')

    def compare(self, condition: str, dtype: DType, a: str, b: str) -> str:
        """Compare two vectors; float conditions are ordered or unordered, integer ones signed."""
        word = "fcmp" if dtype.kind == "f" else "icmp"
        return self.emit(f"{word} {condition} {self.type(dtype)} {a}, {b}")

    def select(self, condition: str, dtype: DType, a: str, b: str) -> str:
        """Choose between two vectors lane by lane."""
        kind = self.type(dtype)
        return self.emit(f"select {vector('i1', self.lanes)} {condition}, {kind} {a}, {kind} {b}")

    def logic(self, word: str, a: str, b: str) -> str:
        """Join two vectors of booleans."""
        return self.emit(f"{word} {vector('i1', self.lanes)} {a}, {b}")


Emitter = Callable[..., str]

_BOOL = np.dtype(bool)


def _infix(of_float: str | None, of_int: str | None) -> Emitter:
    def emit(body: Body, out: DType, dtypes: list[DType], a: str, b: str) -> str:
        return body.emit(f"{of_float if out.kind == 'f' else of_int} {body.type(out)} {a}, {b}")

    return emit


def _comparison(of_float: str, of_int: str) -> Emitter:
    def emit(body: Body, out: DType, dtypes: list[DType], a: str, b: str) -> str:
        return body.compare(of_float if dtypes[0].kind == "f" else of_int, dtypes[0], a, b)

    return emit


def _logical(word: str) -> Emitter:
    def emit(body: Body, out: DType, dtypes: list[DType], a: str, b: str) -> str:
        return body.logic(word, _truth(body, dtypes[0], a), _truth(body, dtypes[1], b))

    return emit


def _intrinsic(name: str) -> Emitter:
    def emit(body: Body, out: DType, dtypes: list[DType], *args: str) -> str:
        return body.intrinsic(name, out, *args)

    return emit


def _truth(body: Body, dtype: DType, a: str) -> str:
    """Return whether values are not zero; NaN is not."""
    if dtype.kind == "b":
        return a
    return body.compare("une" if dtype.kind == "f" else "ne", dtype, a, body.splat(0, dtype))


def _negative(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    if out.kind == "f":
        return body.emit(f"fneg {body.type(out)} {a}")
    return body.emit(f"sub {body.type(out)} {body.splat(0, out)}, {a}")


def _square(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    return body.emit(f"{'fmul' if out.kind == 'f' else 'mul'} {body.type(out)} {a}, {a}")


def _reciprocal(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    return body.emit(f"fdiv {body.type(out)} {body.splat(1, out)}, {a}")


def _annihilating_multiply(body: Body, out: DType, dtypes: list[DType], a: str, b: str) -> str:
    if out.kind != "f":
        return body.emit(f"mul {body.type(out)} {a}, {b}")
    return annihilating(body, out, body.emit(f"fmul {body.type(out)} {a}, {b}"), [a, b])


def annihilating(body: Body, dtype: DType, product: str, zeros: list[str]) -> str:
    """Return a product, but zero where it is NaN and a factor is exactly zero."""
    if body.hoped is not None:
        body.hoped.append((dtype, product))
        return product
    zero = body.splat(0, dtype)
    # Kept where no factor is zero, or it is a number: so, compares and select need no negated mask.
    nonzero = [body.compare("une", dtype, factor, zero) for factor in zeros]
    kept = nonzero[0] if len(nonzero) == 1 else body.logic("and", *nonzero)
    kept = body.logic("or", kept, body.compare("ord", dtype, product, product))
    return body.select(kept, dtype, product, zero)


def any_nan(body: Body, numbers: list[tuple[DType, str]]) -> str:
    """Return whether a lane of some vectors, at least one, is NaN."""
    found = []
    for dtype in dict.fromkeys([dtype for dtype, _ in numbers]):
        own = [number for of, number in numbers if of == dtype]
        width = 8 * dtype.itemsize
        # LLVM keeps the masks of two registers apart only as vectors of whole integers. One comparison serves two.
        kind, masks = f"<{body.lanes} x i{width}>", []
        for a, b in zip(own[::2], [*own[1::2], *own[-1:]], strict=False):
            masks.append(body.emit(f"sext <{body.lanes} x i1> {body.compare('uno', dtype, a, b)} to {kind}"))
        total = reduce(lambda a, b: body.emit(f"or {kind} {a}, {b}"), masks)
        whole = f"i{body.lanes * width}"
        found.append(body.emit(f"icmp ne {whole} {body.emit(f'bitcast {kind} {total} to {whole}')}, 0"))
    return reduce(lambda a, b: body.emit(f"or i1 {a}, {b}"), found)


def _extremum(of_float: str, of_int: str, nan_wins: bool) -> Emitter:
    # maximum takes a where a > b or a is NaN, else b, which may be NaN; fmax takes b where a is
    # NaN and a where b is.
    def emit(body: Body, out: DType, dtypes: list[DType], a: str, b: str) -> str:
        if out.kind == "b":
            return body.logic("or" if of_int == "sgt" else "and", a, b)
        if out.kind != "f":
            return body.select(body.compare(of_int, out, a, b), out, a, b)
        better = body.compare(of_float, out, a, b)
        other = a if nan_wins else b
        return body.select(body.logic("or", better, body.compare("uno", out, other, other)), out, a, b)

    return emit


def _where(body: Body, out: DType, dtypes: list[DType], condition: str, a: str, b: str) -> str:
    return body.select(condition, out, a, b)


def _sign(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    # The sign of a zero or NaN is itself, zeros without their sign.
    zero = body.splat(0, out)
    of_float = out.kind == "f"
    positive = body.compare("ogt" if of_float else "sgt", out, a, zero)
    negative = body.compare("olt" if of_float else "slt", out, a, zero)
    rest = body.select(body.compare("uno", out, a, a), out, a, zero) if of_float else zero
    signed = body.select(negative, out, body.splat(-1, out), rest)
    return body.select(positive, out, body.splat(1, out), signed)


def _absolute(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    if out.kind == "f":
        return body.intrinsic("fabs", out, a)
    return body.select(body.compare("slt", out, a, body.splat(0, out)), out, _negative(body, out, dtypes, a), a)


def _isnan(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    return body.compare("uno", dtypes[0], a, a)


def _magnitude_is_inf(condition: str) -> Emitter:
    def emit(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
        magnitude = body.intrinsic("fabs", dtypes[0], a)
        return body.compare(condition, dtypes[0], magnitude, body.splat(np.inf, dtypes[0]))

    return emit


def _signbit(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    bits = vector(f"i{8 * dtypes[0].itemsize}", body.lanes)
    pattern = body.emit(f"bitcast {body.type(dtypes[0])} {a} to {bits}")
    return body.emit(f"icmp slt {bits} {pattern}, zeroinitializer")


def _logical_not(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    return body.logic("xor", _truth(body, dtypes[0], a), body.splat(True, _BOOL))


def _invert(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    return body.emit(f"xor {body.type(out)} {a}, {body.splat(-1 if out.kind == 'i' else True, out)}")


def _astype(body: Body, out: DType, dtypes: list[DType], a: str) -> str:
    return cast(body, a, dtypes[0], out)


def cast(body: Body, a: str, dtype: DType, out: DType) -> str:
    """Return a vector in another dtype, as NumPy casts."""
    if dtype == out:
        return a
    if out.kind == "b":
        return _truth(body, dtype, a)
    if dtype.kind == "f" and out.kind == "f":
        word = "fpext" if out.itemsize > dtype.itemsize else "fptrunc"
    elif out.kind == "f":
        word = "uitofp" if dtype.kind == "b" else "sitofp"
    elif dtype.kind == "b":
        word = "zext"
    else:
        word = "sext" if out.itemsize > dtype.itemsize else "trunc"
    return body.emit(f"{word} {body.type(dtype)} {a} to {body.type(out)}")


def can_cast(dtype: DType, out: DType) -> bool:
    """Return whether `cast` does it: all but float to integer, which NumPy leaves to the machine."""
    return dtype in DTYPES and out in DTYPES and not (dtype.kind == "f" and out.kind == "i")


#: Emitters by op name: of float and integer arguments, unless `FLOAT_ONLY` or `BOOL_TOO` says else.
EMITTERS: Mapping[str, Emitter] = {
    "add": _infix("fadd", "add"),
    "subtract": _infix("fsub", "sub"),
    "multiply": _infix("fmul", "mul"),
    "annihilating_multiply": _annihilating_multiply,
    "divide": _infix("fdiv", None),
    "negative": _negative,
    "square": _square,
    "reciprocal": _reciprocal,
    "sqrt": _intrinsic("sqrt"),
    "absolute": _absolute,
    "sign": _sign,
    "copysign": _intrinsic("copysign"),
    "floor": _intrinsic("floor"),
    "ceil": _intrinsic("ceil"),
    "trunc": _intrinsic("trunc"),
    "rint": _intrinsic("rint"),
    "maximum": _extremum("ogt", "sgt", True),
    "minimum": _extremum("olt", "slt", True),
    "fmax": _extremum("oge", "sgt", False),
    "fmin": _extremum("ole", "slt", False),
    "where": _where,
    "equal": _comparison("oeq", "eq"),
    "not_equal": _comparison("une", "ne"),
    "less": _comparison("olt", "slt"),
    "less_equal": _comparison("ole", "sle"),
    "greater": _comparison("ogt", "sgt"),
    "greater_equal": _comparison("oge", "sge"),
    "logical_and": _logical("and"),
    "logical_or": _logical("or"),
    "logical_xor": _logical("xor"),
    "logical_not": _logical_not,
    "bitwise_and": _infix(None, "and"),
    "bitwise_or": _infix(None, "or"),
    "bitwise_xor": _infix(None, "xor"),
    "invert": _invert,
    "isnan": _isnan,
    "isinf": _magnitude_is_inf("oeq"),
    "isfinite": _magnitude_is_inf("olt"),
    "signbit": _signbit,
    "astype": _astype,
}
#: Ops of floats alone.
FLOAT_ONLY = frozenset("divide reciprocal sqrt copysign floor ceil trunc rint isnan isinf isfinite signbit".split())
#: Ops that take booleans as well.
BOOL_TOO = frozenset(
    "where equal not_equal logical_and logical_or logical_xor logical_not bitwise_and bitwise_or bitwise_xor invert "
    "maximum minimum astype".split()
)


# -- powers with a literal exponent ----------------------------------------------------------


def integer_power(body: Body, dtype: DType, a: str, exponent: int) -> str:
    """Return a small integer power by products, exact to one unit in the last place a product."""
    kind = body.type(dtype)
    if exponent < 0:
        a = body.emit(f"fdiv {kind} {body.splat(1, dtype)}, {a}")
    result = a
    for digit in bin(abs(exponent))[3:]:
        result = body.emit(f"fmul {kind} {result}, {result}")
        if digit == "1":
            result = body.emit(f"fmul {kind} {result}, {a}")
    return result
