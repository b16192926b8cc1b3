"""Rules of arithmetic: each keeps every bit, for NaN, infinities and both zeros too.

Rules that look natural and are none: ``x + 0.0`` is not ``x`` (-0.0 becomes 0.0), ``x * 0`` and
``x - x`` are not 0 (inf, NaN), ``-(a - b)`` is not ``b - a`` (-0.0), complex ``x * 1`` is not ``x``
(inf), ``(x * a) * b`` is not ``x * (a * b)`` (rounding). Which NaN it is does not count, as it does
not in NumPy.
"""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np

from gradloom.graph import LITERAL, RawNode
from gradloom.op import Op, ops
from gradloom.simplify.builder import Builder, Rule
from gradloom.spec import Spec
from gradloom.symbolic import compute, decide

Args = tuple[int, ...]
Result = int | RawNode | None

#: Arithmetic that IEEE 754 rounds in one way, so that it holds on every backend.
_FOLDED = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "annihilating_multiply": np.multiply,
    "divide": np.divide,
    "negative": np.negative,
}
#: Ops whose real values are never -0.0. A sum begins with 0.0.
_NEVER_MINUS_ZERO = frozenset("absolute square exp exp2 cosh sum".split())
_VIEWS = frozenset("broadcast_to getitem reshape transpose".split())


def never_minus_zero(g: Builder, j: int) -> bool:
    """Return whether no element of a node can be -0.0."""
    kind = g.specs[j].dtype.kind
    if kind != "f":
        return kind in "iub"
    op, inputs, _ = g.nodes[j]
    if op.name in _VIEWS:
        op = g.nodes[inputs[0]][0]
        j = inputs[0]
    return not is_minus_zero(g.constant(j)) if op is LITERAL else op.name in _NEVER_MINUS_ZERO


def is_minus_zero(value: Any) -> bool:
    """Return whether a number is -0.0."""
    return type(value) is float and value == 0 and math.copysign(1.0, value) < 0


# -- literals ------------------------------------------------------------------------------


def fold_literals(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Arithmetic on literals -> a literal; floats up to 64 bits with a finite result.

    It is here so that other rules see the value. What else depends on literals alone is
    computed when a plan is made, by the kernels of the backend.
    """
    if spec.dtype.kind != "f" or spec.dtype.itemsize > 8:
        return None
    values = [g.constant(j) for j in args]
    if None in values:
        return None
    value = compute(_folded, op.name, spec.dtype, *values)
    return g.literal(value, spec.dtype) if decide(math.isfinite, value) else None


def _folded(name: str, dtype: np.dtype[Any], *values: Any) -> Any:
    with np.errstate(all="ignore"):
        return _FOLDED[name](*[dtype.type(v) for v in values]).item()


def times_one(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x * 1 -> x``, annihilating too; not complex: there ``inf * 1`` has a NaN part."""
    return args[1 - k] if spec.dtype.kind != "c" and g.constant(args[k]) == 1 else None


def times_minus_one(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x * -1 -> -x``, annihilating too; not complex."""
    if spec.dtype.kind not in "fi" or g.constant(args[k]) != -1:
        return None
    return ops["negative"], (args[1 - k],), ()


def annihilating_literal(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Annihilating ``x * c -> x * c``; c finite and not zero, so zeros of x give zeros anyway."""
    value = g.constant(args[k])
    if value == 0 or not decide(cmath.isfinite, value):
        return None
    return ops["multiply"], args, ()


def divide_by_one(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x / 1 -> x`` and ``x / -1 -> -x``; real."""
    value = g.constant(args[1]) if k == 1 and spec.dtype.kind == "f" else None
    if value == 1:
        return args[0]
    return (ops["negative"], (args[0],), ()) if value == -1 else None


def divide_by_power_of_two(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x / c -> x * (1 / c)``; real arrays, c a power of two whose reciprocal is a normal number.

    Both are the same real number, rounded once. A 0-d quotient gains nothing, and where it is a mean over any number of
    samples its kernel would be another one for some of them.
    """
    if k != 1 or not spec.shape or spec.dtype.kind != "f" or spec.dtype.itemsize > 8:
        return None
    value = g.constant(args[1])
    if not decide(_is_power_of_two, value, spec.dtype):
        return None
    return ops["multiply"], (args[0], g.literal(1.0 / value, spec.dtype)), ()


def _is_power_of_two(value: float, dtype: np.dtype[Any]) -> bool:
    """Return whether a number is one, of either sign, and its reciprocal a normal number of a dtype."""
    limits = np.finfo(dtype)
    if not limits.tiny <= abs(value) <= limits.max or abs(math.frexp(value)[0]) != 0.5:
        return False
    return bool(limits.tiny <= abs(1.0 / value) <= limits.max)


def subtract_zero(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x - 0.0 -> x``; not ``x - -0.0``, which turns -0.0 into 0.0. Real and integers."""
    if k != 1 or spec.dtype.kind not in "fiu":
        return None
    value = g.constant(args[1])
    return args[0] if value == 0 and not is_minus_zero(value) else None


def add_zero(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x + -0.0 -> x``; ``x + 0.0 -> x`` where x is an integer or cannot be -0.0."""
    if spec.dtype.kind not in "fiu":
        return None
    value = g.constant(args[k])
    x = args[1 - k]
    return x if value == 0 and (is_minus_zero(value) or never_minus_zero(g, x)) else None


def power_of_literal(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``x ** 1 -> x`` and ``x ** 2 -> square(x)``; real. NumPy gives the same bits for a 0-d exponent."""
    if k != 1 or spec.dtype.kind != "f":
        return None
    value = g.constant(args[1])
    if value == 2:
        return ops["square"], (args[0],), ()
    return args[0] if value == 1 else None


# -- signs ---------------------------------------------------------------------------------


def negative_of_negative(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``-(-x) -> x``."""
    return g.nodes[args[0]][1][0]


def add_negative(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Rewrite ``a + (-b)`` and ``(-b) + a -> a - b``."""
    return ops["subtract"], (args[1 - k], g.nodes[args[k]][1][0]), ()


def subtract_negative(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Rewrite ``a - (-b) -> a + b``."""
    return (ops["add"], (args[0], g.nodes[args[1]][1][0]), ()) if k == 1 else None


def negative_times_negative(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Rewrite ``(-a) * (-b) -> a * b``, annihilating too, and ``(-a) / (-b) -> a / b``; not complex quotients."""
    (first, a, _), (second, b, _) = g.nodes[args[0]], g.nodes[args[1]]
    if first is not second or (op.name == "divide" and spec.dtype.kind != "f"):
        return None
    return op, (a[0], b[0]), ()


def negative_times_literal(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Rewrite ``(-a) * c -> a * (-c)``, annihilating too, and ``(-a) / c -> a / (-c)``; real."""
    if spec.dtype.kind != "f" or (op.name == "divide" and k == 1):
        return None
    value = g.constant(args[1 - k])
    if value is None:
        return None
    a = g.nodes[args[k]][1][0]
    c = g.literal(-compute(float, value), g.specs[args[1 - k]].dtype)
    return op, (a, c) if k == 0 else (c, a), ()


def negative_of_scaled(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """Rewrite ``-(a * c) -> a * (-c)`` and ``-(a / c) -> a / (-c)`` for a literal c; real, used nowhere else."""
    scaled, (a, c), _ = g.nodes[args[0]]
    if spec.dtype.kind != "f" or g.uses[args[0]] > 1:
        return None
    value = g.constant(c)
    if value is not None:
        return scaled, (a, g.literal(-compute(float, value), spec.dtype)), ()
    value = g.constant(a)
    return None if value is None else (scaled, (g.literal(-compute(float, value), spec.dtype), c), ())


def even_of_negative(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``f(-x) -> f(x)`` for square and absolute; not unsigned, where -1 is a large number."""
    return (op, g.nodes[args[0]][1], ()) if spec.dtype.kind != "u" or op.name == "square" else None


def absolute_of_nonnegative(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``|x| -> x`` where x is ``|y|`` or a real square."""
    return args[0] if spec.dtype.kind == "f" else None


def square_of_absolute(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``square(|x|) -> square(x)``; real."""
    x = g.nodes[args[0]][1]
    return (op, x, ()) if g.specs[x[0]].dtype.kind == "f" else None


# -- identities ----------------------------------------------------------------------------


def identity_op(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``positive(x) -> x`` and ``stop_gradient(x) -> x``: what is simplified is not differentiated again."""
    return args[0]


def part_of_real(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``conjugate(x) -> x`` and ``real(x) -> x`` for x that is not complex."""
    return args[0] if g.specs[args[0]].dtype.kind != "c" else None


def conjugate_of_conjugate(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``conjugate(conjugate(x)) -> x``."""
    return g.nodes[args[0]][1][0]


def real_of_conjugate(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``real(conjugate(x)) -> real(x)``."""
    return op, g.nodes[args[0]][1], ()


def real_of_cast(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``real(astype(x, complex)) -> x`` where x has the dtype of the real part."""
    return g.nodes[args[0]][1][0]


def where_same(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``where(c, x, x) -> x``, broadcast."""
    _, x, y = args
    if x != y:
        return None
    return x if g.specs[x].shape == spec.shape else (ops["broadcast_to"], (x,), (spec.shape,))


def cast_to_own_dtype(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``astype(x, x.dtype) -> x``."""
    return args[0] if g.specs[args[0]].dtype == attrs[0] else None


def cast_of_cast(g: Builder, op: Op, args: Args, attrs: Any, spec: Spec, k: int) -> Result:
    """``astype(astype(x, a), b) -> astype(x, b)`` where a holds every value of x's dtype exactly."""
    _, (x,), (between,) = g.nodes[args[0]]
    return (op, (x,), attrs) if holds_exactly(g.specs[x].dtype, between) else None


def holds_exactly(dtype: np.dtype[Any], wider: np.dtype[Any]) -> bool:
    """Return whether every value of one dtype is one of another, in order and with its sign."""
    if not np.can_cast(dtype, wider, "safe"):
        return False
    if dtype.kind in "iu" and wider.kind in "fc":
        # NumPy calls int64 -> float64 safe.
        return bool(8 * dtype.itemsize <= np.finfo(wider).nmant + 1)
    return True


def _rules() -> list[Rule]:
    products = ("multiply", "annihilating_multiply")
    rules = [Rule(fold_literals, name, "literal") for name in _FOLDED]
    for name in products:
        rules += [Rule(times_one, name, "literal"), Rule(times_minus_one, name, "literal")]
    for name in (*products, "divide"):
        rules += [Rule(negative_times_negative, name, "negative"), Rule(negative_times_literal, name, "negative")]
    return [
        *rules,
        Rule(annihilating_literal, "annihilating_multiply", "literal"),
        Rule(divide_by_one, "divide", "literal"),
        Rule(divide_by_power_of_two, "divide", "literal"),
        Rule(subtract_zero, "subtract", "literal"),
        Rule(add_zero, "add", "literal"),
        Rule(power_of_literal, "power", "literal"),
        Rule(negative_of_negative, "negative", "negative"),
        Rule(add_negative, "add", "negative"),
        Rule(subtract_negative, "subtract", "negative"),
        Rule(negative_of_scaled, "negative", "multiply"),
        Rule(negative_of_scaled, "negative", "divide"),
        Rule(even_of_negative, "square", "negative"),
        Rule(even_of_negative, "absolute", "negative"),
        Rule(absolute_of_nonnegative, "absolute", "absolute"),
        Rule(absolute_of_nonnegative, "absolute", "square"),
        Rule(square_of_absolute, "square", "absolute"),
        Rule(identity_op, "positive"),
        Rule(identity_op, "stop_gradient"),
        Rule(part_of_real, "conjugate"),
        Rule(part_of_real, "real"),
        Rule(conjugate_of_conjugate, "conjugate", "conjugate"),
        Rule(real_of_conjugate, "real", "conjugate"),
        Rule(real_of_cast, "real", "astype"),
        Rule(where_same, "where"),
        Rule(cast_to_own_dtype, "astype"),
        Rule(cast_of_cast, "astype", "astype"),
    ]


#: The rules of arithmetic, in the order they are tried.
ARITHMETIC = tuple(_rules())
