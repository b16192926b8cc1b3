"""Combining: how reductions join values, lanes and partial results, always in the same tree."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from gradloom_llvm.elementwise import EMITTERS, TYPES, Body
from gradloom_llvm.engine import Library, load

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


# -- partial results -------------------------------------------------------------------------


@cache
def _combiner_library(combine: str, dtype: DType) -> Library:
    body = Body(1, "t")
    result = combine_values(body, combine, dtype, "%av", "%bv")
    text = _COMBINER.format(
        memory=TYPES[dtype.name][1],
        load_a=_load_one(dtype, "%a", "%ap"),
        load_b=_load_one(dtype, "%b", "%bp"),
        lines="\n".join(body.lines),
        store=_store_one(dtype, result, "%ap"),
    )
    return load("\n".join([*sorted(body.declares), text]))


def combiner(combine: str, dtype: DType) -> int:
    """Return the address of ``void combine(ptr parts, i64 count, i64 width)``.

    It joins ``count`` rows of ``width`` partial results, neighbours first, into the first row.
    """
    return _combiner_library(combine, dtype).address("combine")


_COMBINER = """define void @combine(ptr %parts, i64 %count, i64 %width) nounwind {{
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
    kind = TYPES[dtype.name][0]
    if dtype.kind == "b":
        return f"  {name}m = load <1 x i8>, ptr {pointer}, align 1\n  {name}v = trunc <1 x i8> {name}m to <1 x i1>"
    return f"  {name}v = load <1 x {kind}>, ptr {pointer}, align {dtype.itemsize}"


def _store_one(dtype: DType, value: str, pointer: str) -> str:
    kind, _ = TYPES[dtype.name]
    if dtype.kind == "b":
        return f"  %wide = zext <1 x i1> {value} to <1 x i8>\n  store <1 x i8> %wide, ptr {pointer}, align 1"
    return f"  store <1 x {kind}> {value}, ptr {pointer}, align {dtype.itemsize}"
