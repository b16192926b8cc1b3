"""Straight-line LLVM functions on vectors, written as text by ordinary arithmetic on `Vector`.

A `Body` collects the instructions of one function. A `Vector` names one SSA value of it: operators
append an instruction, plain numbers become splat constants. Nothing is folded or simplified; LLVM
does that.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final

#: Of each dtype: LLVM's element type, its name in intrinsics, its bits, and the integer type of its bits.
_FLOATS: Final = {"float64": ("double", "f64", 64), "float32": ("float", "f32", 32)}

_RARELY: Final = '!{!"branch_weights", i32 1, i32 1000000}'


def vector(element: str, lanes: int) -> str:
    """Return `<8 x double>` for 8 lanes of `double`; one lane is a scalar, which costs LLVM less time."""
    return element if lanes == 1 else f"<{lanes} x {element}>"


def vector_type(dtype: str, lanes: int) -> str:
    """Return `<8 x double>` for float64 and 8 lanes."""
    return vector(_FLOATS[dtype][0], lanes)


def function_name(op: str, dtype: str, lanes: int) -> str:
    """Return the IR symbol of a function, without its @."""
    return f"gl.{op}.{_FLOATS[dtype][1]}x{lanes}"


@lru_cache(maxsize=4096)
def _float_splat(value: float, element: str, lanes: int) -> str:
    """Return a constant in every lane; not -0.0, which is equal to 0.0."""
    if element == "float":
        value = struct.unpack("f", struct.pack("f", value))[0]  # LLVM refuses what is not representable
    return _splat(element, f"0x{struct.unpack('<Q', struct.pack('<d', value))[0]:016X}", lanes)


def _splat(element: str, word: str, lanes: int) -> str:
    """Return a constant in every lane."""
    return word if lanes == 1 else f"splat ({element} {word})"


class Body:
    """The instructions of one function.

    Parameters
    ----------
    dtype : str
    lanes : int
    avx512 : bool, default False
        Whether instructions of that kind are allowed.
    table : str, optional
        A symbol: what is added and multiplied by is read there, in the order in which it is written.
    """

    __slots__ = (
        "avx512", "bits", "block", "calls", "declares", "dtype", "element", "floats",
        "integers", "lanes", "lines", "mask", "numbers", "suffix", "table",
    )  # fmt: skip

    def __init__(self, dtype: str, lanes: int, avx512: bool = False, table: str | None = None) -> None:
        self.avx512, self.table = avx512, table
        self.element, short, self.bits = _FLOATS[dtype]
        self.dtype, self.lanes = dtype, lanes
        self.floats = vector(self.element, lanes)
        self.integers = vector(f"i{self.bits}", lanes)
        self.mask = vector("i1", lanes)
        self.suffix = short if lanes == 1 else f"v{lanes}{short}"
        self.block = "entry"
        #: What stands in the table: the text of each number, and where.
        self.numbers: dict[str, int] = {}
        self.lines: list[str] = []
        self.declares: set[str] = set()
        self.calls: set[tuple[str, str, int]] = set()

    def emit(self, type: str, instruction: str) -> Vector:
        """Append one instruction and return its value, of the type given."""
        name = f"%v{len(self.lines)}"
        self.lines.append(f"  {name} = {instruction}")
        return Vector(self, type, name)

    def parameter(self, name: str) -> Vector:
        """Return a parameter of the function."""
        return Vector(self, self.floats, name)

    def constant(self, value: float) -> Vector:
        """Return a float constant in all lanes."""
        return Vector(self, self.floats, self.reference(value))

    def intrinsic(self, name: str, *operands: Vector | float) -> Vector:
        """Call an LLVM intrinsic that takes and returns float vectors."""
        symbol = f"@llvm.{name}.{self.suffix}"
        self.declares.add(f"declare {self.floats} {symbol}({', '.join([self.floats] * len(operands))})")
        arguments = ", ".join([f"{self.floats} {self.operand(x)}" for x in operands])
        return self.emit(self.floats, f"call {self.floats} {symbol}({arguments})")

    def call(self, op: str, *operands: Vector, dtype: str | None = None) -> Vector:
        """Call another vector function; its dtype is this body's unless given."""
        dtype = dtype or self.dtype
        self.calls.add((op, dtype, self.lanes))
        result = vector_type(dtype, self.lanes)
        arguments = ", ".join([f"{x.type} {x.name}" for x in operands])
        return self.emit(result, f'call {result} @"{function_name(op, dtype, self.lanes)}"({arguments})')

    def per_lane(self, symbol: str, *operands: Vector) -> Vector:
        """Call a function of the C library once for each lane."""
        kind = self.element
        self.declares.add(f"declare {kind} @{symbol}({', '.join([kind] * len(operands))})")
        if self.lanes == 1:
            return self.emit(kind, f"call {kind} @{symbol}({', '.join([f'{kind} {x.name}' for x in operands])})")
        result = Vector(self, self.floats, "poison")
        for lane in range(self.lanes):
            arguments = [self.emit("", f"extractelement {x.type} {x.name}, i32 {lane}").name for x in operands]
            passed = ", ".join([f"{kind} {argument}" for argument in arguments])
            scalar = self.emit("", f"call {kind} @{symbol}({passed})")
            result = self.emit(
                self.floats, f"insertelement {self.floats} {result.name}, {kind} {scalar.name}, i32 {lane}"
            )
        return result

    def unless_any(self, mask: Vector, usual: Vector, rare: str, *operands: Vector) -> Vector:
        """Return the usual value, or where any lane of the mask is set what the function `rare` makes of it.

        The one branch there is: the rare function is called with the operands and the usual value,
        and must return the usual value in the lanes that it is not meant for.
        """
        count = len(self.lines)
        any_lane = mask
        if self.lanes > 1:
            reduction = f"@llvm.vector.reduce.or.v{self.lanes}i1"
            self.declares.add(f"declare i1 {reduction}({self.mask})")
            any_lane = self.emit("i1", f"call i1 {reduction}({self.mask} {mask.name})")
        self.lines.append(f"  br i1 {any_lane.name}, label %rare{count}, label %join{count}, !prof {_RARELY}")
        self.lines.append(f"rare{count}:")
        value = self.call(rare, *operands, usual)
        self.lines.append(f"  br label %join{count}")
        self.lines.append(f"join{count}:")
        before, self.block = self.block, f"join{count}"
        return self.emit(self.floats, f"phi {self.floats} [ {usual.name}, %{before} ], [ {value.name}, %rare{count} ]")

    def reference(self, operand: Vector | float) -> str:
        """Return the text of a float operand."""
        return operand.name if isinstance(operand, Vector) else _float_splat(operand, self.element, self.lanes)

    def operand(self, operand: Vector | float) -> str:
        """Return the text of a float operand of arithmetic, which may be read from the table.

        A vector of two registers is two chains of instructions that wait for their results, and LLVM writes one behind
        the other to save registers, so that a processor sees one at a time. What it reads from memory in a given order
        keeps them side by side. It also broadcasts each number, unless it is read whole.
        """
        if self.table is None or isinstance(operand, Vector):
            return self.reference(operand)
        place = self.numbers.setdefault(self.reference(operand), len(self.numbers))
        address = f"getelementptr ({self.floats}, ptr {self.table}, i64 {place})"
        return self.emit(self.floats, f"load volatile {self.floats}, ptr {address}, align 32").name

    def table_definition(self) -> str:
        """Return the line that defines the table."""
        numbers = ", ".join([f"{self.floats} {number}" for number in self.numbers])
        return f"{self.table} = internal constant [{len(self.numbers)} x {self.floats}] [{numbers}], align 64"

    def whole(self, value: int) -> str:
        """Return the text of an integer in every lane."""
        return _splat(f"i{self.bits}", str(value), self.lanes)


class Vector:
    """One value in a body: floats, integers (the bits of floats) or a mask, by its type."""

    __slots__ = ("body", "name", "type")

    def __init__(self, body: Body, type: str, name: str) -> None:
        self.body, self.type, self.name = body, type, name

    def _float(self, instruction: str, left: Vector | float, right: Vector | float) -> Vector:
        body = self.body
        return body.emit(body.floats, f"{instruction} {body.floats} {body.operand(left)}, {body.operand(right)}")

    def __add__(self, other: Vector | float) -> Vector:
        return self._float("fadd", self, other)

    def __radd__(self, other: float) -> Vector:
        return self._float("fadd", other, self)

    def __sub__(self, other: Vector | float) -> Vector:
        return self._float("fsub", self, other)

    def __rsub__(self, other: float) -> Vector:
        return self._float("fsub", other, self)

    def __mul__(self, other: Vector | float) -> Vector:
        return self._float("fmul", self, other)

    def __rmul__(self, other: float) -> Vector:
        return self._float("fmul", other, self)

    def __truediv__(self, other: Vector | float) -> Vector:
        return self._float("fdiv", self, other)

    def __rtruediv__(self, other: float) -> Vector:
        return self._float("fdiv", other, self)

    def __neg__(self) -> Vector:
        return self.body.emit(self.type, f"fneg {self.type} {self.name}")

    def __abs__(self) -> Vector:
        return self.body.intrinsic("fabs", self)

    # comparisons are ordered: false where an operand is NaN

    def __lt__(self, other: Vector | float) -> Vector:
        return self._compare("olt", other)

    def __le__(self, other: Vector | float) -> Vector:
        return self._compare("ole", other)

    def __gt__(self, other: Vector | float) -> Vector:
        return self._compare("ogt", other)

    def __ge__(self, other: Vector | float) -> Vector:
        return self._compare("oge", other)

    def equals(self, other: Vector | float) -> Vector:
        """Return the mask of equal lanes."""
        return self._compare("oeq", other)

    def unordered(self, other: Vector) -> Vector:
        """Return the mask of lanes in which either operand is NaN."""
        return self._compare("uno", other)

    def _compare(self, predicate: str, other: Vector | float) -> Vector:
        body = self.body
        return body.emit(body.mask, f"fcmp {predicate} {body.floats} {self.name}, {body.reference(other)}")

    # integers and masks

    def integer(self, instruction: str, other: Vector | int) -> Vector:
        """Append an instruction on integers or masks, such as `add`, `shl`, `and`."""
        right = other.name if isinstance(other, Vector) else self.body.whole(other)
        return self.body.emit(self.type, f"{instruction} {self.type} {self.name}, {right}")

    def integer_from(self, value: int) -> Vector:
        """Return a whole constant less these integers."""
        return self.body.emit(self.type, f"sub {self.type} {self.body.whole(value)}, {self.name}")

    def matches(self, value: int) -> Vector:
        """Return the mask of the lanes in which an integer has a value."""
        body = self.body
        return body.emit(body.mask, f"icmp eq {body.integers} {self.name}, {body.whole(value)}")

    def astype(self, dtype: str) -> Vector:
        """Return the floats converted to another dtype, wider or narrower."""
        wanted = vector_type(dtype, self.body.lanes)
        if wanted == self.type:
            return self
        instruction = "fpext" if dtype == "float64" else "fptrunc"
        return self.body.emit(wanted, f"{instruction} {self.type} {self.name} to {wanted}")

    def as_bits(self) -> Vector:
        """Return the bits of floats as integers."""
        body = self.body
        return body.emit(body.integers, f"bitcast {body.floats} {self.name} to {body.integers}")

    def as_floats(self) -> Vector:
        """Return the floats whose bits are these integers."""
        body = self.body
        return body.emit(body.floats, f"bitcast {body.integers} {self.name} to {body.floats}")

    def __and__(self, other: Vector) -> Vector:
        return self.body.emit(self.type, f"and {self.type} {self.name}, {other.name}")

    def __or__(self, other: Vector) -> Vector:
        return self.body.emit(self.type, f"or {self.type} {self.name}, {other.name}")

    def __invert__(self) -> Vector:
        body = self.body
        return body.emit(self.type, f"xor {self.type} {self.name}, {_splat('i1', 'true', body.lanes)}")


def fma(x: Vector, y: Vector | float, z: Vector | float) -> Vector:
    """Return x * y + z, rounded once. Without such an instruction LLVM calls libm: slow, still right."""
    return x.body.intrinsic("fma", x, y, z)


def select(mask: Vector, yes: Vector | float, no: Vector | float) -> Vector:
    """Return yes where the mask is set and no elsewhere."""
    body = mask.body
    return body.emit(
        body.floats,
        f"select {body.mask} {mask.name}, {body.floats} {body.reference(yes)}, {body.floats} {body.reference(no)}",
    )


def smaller(x: Vector, limit: Vector | float) -> Vector:
    """Return the smaller one; NaN in x stays."""
    return select(x > limit, limit, x)


def larger(x: Vector, limit: Vector | float) -> Vector:
    """Return the larger one; NaN in x stays."""
    return select(x < limit, limit, x)


def copysign(magnitude: Vector | float, sign: Vector) -> Vector:
    """Return the magnitude with the sign of another value."""
    return sign.body.intrinsic("copysign", magnitude, sign)


def sqrt(x: Vector) -> Vector:
    """Return the correctly rounded square root."""
    return x.body.intrinsic("sqrt", x)


def polynomial(x: Vector, coefficients: Sequence[float]) -> Vector:
    """Return the polynomial, lowest power first: pairs, then pairs of pairs (Estrin).

    Horner's rule would take as many instructions less the squarings, but each would wait for the one before;
    measured in loops of a hundred instructions, that costs more.
    """
    terms: list[Vector | float] = list(coefficients)
    power = x
    while True:
        pairs = [fma(power, high, low) for low, high in zip(terms[::2], terms[1::2], strict=False)]
        if len(terms) == 2:
            return pairs[0]
        terms = [*pairs, *terms[2 * len(pairs) :]]
        power = power * power


def two_sum(x: Vector | float, y: Vector) -> tuple[Vector, Vector]:
    """Return x + y rounded, and what rounding left out (Knuth); any order of magnitudes."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def fast_two_sum(x: Vector | float, y: Vector) -> tuple[Vector, Vector]:
    """Return x + y rounded, and what rounding left out (Dekker); |x| >= |y|."""
    total = x + y
    return total, y - (total - x)


def two_product(x: Vector, y: Vector | float) -> tuple[Vector, Vector]:
    """Return x * y rounded, and what rounding left out."""
    product = x * y
    return product, fma(x, y, -product)


def quotient(x: Vector, y: Vector, y_rest: Vector, x_rest: Vector | None = None) -> Vector:
    """Return (x + x_rest) / (y + y_rest), almost correctly rounded in float64; float32 leaves the rests out."""
    return x / y if x.body.dtype == "float32" else exact_quotient(x, y, y_rest, x_rest)


def exact_quotient(x: Vector, y: Vector, y_rest: Vector, x_rest: Vector | None = None) -> Vector:
    """Return (x + x_rest) / (y + y_rest), almost correctly rounded."""
    inverse = 1.0 / y
    value = x * inverse
    error = fma(-value, y_rest, fma(-value, y, x))
    return fma(error if x_rest is None else error + x_rest, inverse, value)


def floor(x: Vector) -> Vector:
    """Return the largest whole number not above x."""
    return x.body.intrinsic("floor", x)


Function = Callable[..., Vector]
