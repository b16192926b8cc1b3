"""Support: which nodes can be compiled, and in which form."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

from gradloom.axes import known_axes
from gradloom.op import Op
from gradloom.spec import Spec
from gradloom_llvm import vectormath
from gradloom_llvm.elementwise import BOOL_TOO, DTYPES, EMITTERS, FLOAT_ONLY, can_cast
from gradloom_llvm.lowering import ALIASES, REDUCTIONS
from gradloom_llvm.scalars import takes_apart
from gradloom_llvm.statements import PRODUCTS

#: Forms: loops over arrays, and instructions for small values.
LOOPS, TAPE = 1, 2
#: Stacks of at least `STACK` products of matrices are written as loops where two of the three axes are at most
#: `SHORT` and the third is at least `LONG`: there BLAS spends its time on other things than arithmetic. For
#: a single product it would cost more to turn the rows in memory.
STACK, SHORT, LONG = 3, 24, 128


@lru_cache(maxsize=8192)
def forms(op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> int:
    """Return the forms, as flags, in which an op of inputs of some specs can be compiled."""
    return LOOPS * _has_loops(op, specs, attrs, out) | TAPE * takes_apart(op, specs, attrs, out)


def _has_loops(op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> bool:
    """Return whether the code generator can write an op as a loop."""
    name = op.name
    if not all([s.size and s.dtype in DTYPES for s in (*specs, out)]):
        return False
    if name in ALIASES:
        return _keeps_elements_apart(op, specs, attrs, out)
    if name in REDUCTIONS:
        return can_cast(specs[0].dtype, out.dtype) and bool(specs[0].ndim)
    if name in PRODUCTS:
        if out.dtype.kind != "f":
            return False
        # Each element of the matrix is used once: memory is the limit, not arithmetic.
        if min([s.ndim for s in specs]) == 1:
            return max([s.ndim for s in specs]) <= 2
        if specs[0].shape[-1] == 1:
            return specs[0].dtype == specs[1].dtype  # nothing is summed
        return _is_narrow(specs, out)
    if name == "astype":
        return can_cast(specs[0].dtype, out.dtype)
    kinds = {s.dtype.kind for s in specs}
    if name in EMITTERS:
        if name in FLOAT_ONLY:
            return kinds == {"f"}
        return "b" not in kinds or name in BOOL_TOO
    if name == "power" or name in vectormath.names():
        return kinds == {"f"} and out.dtype == specs[0].dtype and ("power" in vectormath.names() or name != "power")
    return False


def is_stack(op: Op, out: Spec) -> bool:
    """Return whether an op multiplies a stack of matrices."""
    return op.name in PRODUCTS and out.ndim > 2


def _is_narrow(specs: tuple[Spec, ...], out: Spec) -> bool:
    """Return whether products of matrices in a stack have one long axis and two short ones."""
    first, second, third = sorted([*specs[0].shape[-2:], out.shape[-1]])
    return (
        math.prod(out.shape[:-2]) >= STACK
        and first > 1
        and second <= SHORT
        and third >= LONG
        and specs[0].dtype == specs[1].dtype
    )


def _keeps_elements_apart(op: Op, specs: tuple[Spec, ...], attrs: tuple[Any, ...], out: Spec) -> bool:
    """Return whether a view only orders, drops or adds axes: no axis becomes several, or several one."""
    axes = known_axes(op, specs, attrs)
    if axes is None:
        return op.elementwise
    own = [name for n, name in zip(specs[0].shape, axes.inputs[0], strict=True) if n != 1]
    others = [name for n, name in zip(out.shape, axes.output, strict=True) if n != 1]
    return None not in own and None not in others and set(own) <= set(others)
