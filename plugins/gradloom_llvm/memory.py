"""Loads and stores of vectors: whole, under a mask, or of elements that stand apart."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom_llvm.elementwise import TYPES, Body, in_every_lane
from gradloom_llvm.vectormath import vector as vector_of

DType = np.dtype[Any]


def load(body: Body, dtype: DType, address: str, mask: str | None, step: str = "1") -> str:
    """Load a vector; ``step`` is the distance of its elements."""
    kind = TYPES[dtype][1]
    vector = vector_of(kind, body.lanes)
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


def store(body: Body, dtype: DType, value: str, address: str, mask: str | None, step: str = "1") -> None:
    """Store a vector; ``step`` is the distance of its elements."""
    kind = TYPES[dtype][1]
    vector = vector_of(kind, body.lanes)
    if dtype.kind == "b":
        value = body.emit(f"zext {vector_of('i1', body.lanes)} {value} to {vector}")
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
    steps = in_every_lane(body.emit, "i64", lanes, step)
    numbers = ", ".join(f"i64 {k}" for k in range(lanes))
    offsets = body.emit(f"mul <{lanes} x i64> {steps}, <{numbers}>")
    return body.emit(f"getelementptr {TYPES[dtype][1]}, ptr {address}, <{lanes} x i64> {offsets}")
