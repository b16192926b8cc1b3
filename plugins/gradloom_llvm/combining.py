"""Combining: how reductions join values, lanes and partial results, always in the same tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom_llvm import memory
from gradloom_llvm.elementwise import EMITTERS, TYPES, Body

DType = np.dtype[Any]


def identity(combine: str, dtype: DType) -> Any:
    """Return the value that changes nothing when combined."""
    if combine == "add":
        return 0  # as in NumPy, whose sums of negative zeros are positive
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
    """Combine the lanes of a vector, halves with halves, to a scalar."""
    return combine_lanes_of_each(body, combine, dtype, [a])


def combine_lanes_of_each(body: Body, combine: str, dtype: DType, vectors: Sequence[str]) -> str:
    """Combine the lanes of each of some vectors to one vector of the results; of two, four, ..., up to the lanes."""
    kind, lanes, groups = TYPES[dtype][0], body.lanes, 1
    while lanes > len(vectors) * groups or len(vectors) > 1:
        size = lanes // groups
        lower = [group * size + k for group in range(groups) for k in range(size // 2)]
        upper = [k + size // 2 for k in lower]
        if len(vectors) > 1:  # halves of two vectors side by side
            pairs = list(zip(vectors[::2], vectors[1::2], strict=True))
            lower, upper = [part + [lanes + k for k in part] for part in (lower, upper)]
            groups *= 2
        else:
            pairs = [(vectors[0], "poison")]
        wide = f"<{lanes} x {kind}>"
        joined = []
        for a, b in pairs:
            parts = [body.emit(taken(wide, a, b, part)) for part in (lower, upper)]
            joined.append(combine_values(body.narrowed(len(lower)), combine, dtype, *parts))
        vectors, lanes = joined, len(lower)
    return vectors[0]


def taken(kind: str, a: str, b: str, lanes: Sequence[int]) -> str:
    """Return what takes some lanes of two vectors of a kind side by side; a single one is of the first."""
    if len(lanes) == 1:
        return f"extractelement {kind} {a}, i32 {lanes[0]}"
    return f"shufflevector {kind} {a}, {kind} {b}, <{len(lanes)} x i32> <{', '.join(f'i32 {k}' for k in lanes)}>"


# -- partial results -------------------------------------------------------------------------


def combiner(name: str, combine: str, dtype: DType, declares: set[str]) -> str:
    """Return the definition of ``void name(ptr parts, i64 count, i64 width)``; add what it declares.

    It joins ``count`` rows of ``width`` partial results, neighbours first, into the first row.
    """
    body = Body(1, "t")
    values = [memory.load(body, dtype, pointer, None) for pointer in ("%ap", "%bp")]
    memory.store(body, dtype, combine_values(body, combine, dtype, *values), "%ap", None)
    declares |= body.declares
    return _COMBINER.format(name=name, memory=TYPES[dtype][1], lines="\n".join(body.lines))


_COMBINER = """define internal void {name}(ptr %parts, i64 %count, i64 %width) nounwind {{
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
{lines}
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
