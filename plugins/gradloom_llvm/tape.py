"""Tape: a machine for programs of very many operations on very few numbers.

An unrolled loop over a state of two numbers is tens of thousands of operations, far too many to
compile and far too small to call one by one. Each becomes an instruction of five words,
``(opcode, result, a, b, c)``, on a tape of doubles; one native function, compiled once for all
programs, runs them at a few nanoseconds each. Booleans stand on the tape as 0 and 1, and numbers
of float32 as doubles that are rounded after each operation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from gradloom_llvm import vectormath
from gradloom_llvm.elementwise import EMITTERS, Body, annihilating
from gradloom_llvm.tiers import Code, code

_FLOAT = np.dtype(np.float64)
_BOOL = np.dtype(bool)


#: What an opcode does: an elementwise op, the kinds of its arguments and of its result ("f" or "b").
Instruction: TypeAlias = tuple[str, str, str]

#: Instructions by opcode. Opcode 0 calls a function of one argument, 1 one of two; ``c`` says which.
INSTRUCTIONS: tuple[Instruction, ...] = (
    ("call", "f", "f"),
    ("call", "ff", "f"),
    *[(op, "ff", "f") for op in "add subtract multiply annihilating_multiply divide".split()],
    *[(op, "ff", "f") for op in "maximum minimum fmax fmin copysign annihilating_by_first".split()],
    *[(op, "f", "f") for op in "negative square reciprocal sqrt absolute sign".split()],
    *[(op, "f", "f") for op in "floor ceil trunc rint single".split()],
    *[(op, "ff", "b") for op in "equal not_equal less less_equal greater greater_equal".split()],
    *[(op, "f", "b") for op in "isnan isinf isfinite signbit".split()],
    *[(op, "bb", "b") for op in "equal not_equal logical_and logical_or logical_xor".split()],
    ("logical_not", "b", "b"),
    ("where", "bff", "f"),
)
#: Opcodes by instruction.
OPCODES: Mapping[tuple[str, str], int] = {instruction[:2]: k for k, instruction in enumerate(INSTRUCTIONS)}
#: Kinds of inputs and outputs, by dtype.
KINDS: Mapping[np.dtype[Any], int] = {_FLOAT: 0, _BOOL: 1, np.dtype(np.float32): 2}
#: Words of an instruction.
WIDTH = 5
#: Opcodes that every machine has; others make another machine, which takes longer to compile.
BASIC = frozenset(
    [OPCODES[op, "ff"] for op in ("call", "add", "subtract", "multiply", "annihilating_multiply", "divide")]
    + [OPCODES[op, "f"] for op in ("call", "negative", "square", "single")]
)
#: Elementwise ops that are functions to call.
FUNCTIONS = vectormath.names() - {op for op, _, _ in INSTRUCTIONS}


@cache
def function(op: str) -> Code:
    """Return an op as a function of doubles, which is begun to be compiled."""
    name = vectormath.function_name(op, "float64", 1)
    definitions, declares = vectormath.build([(op, "float64", 1)])
    arity = definitions[definitions.index(f'@"{name}"(') :].split(")")[0].count("%")
    names = [f"%a{k}" for k in range(arity)]
    lines = [f"define double @function({', '.join(f'double {a}' for a in names)}) nounwind {{"]
    lines += [f'  %r = call double @"{name}"({", ".join(f"double {a}" for a in names)})', "  ret double %r", "}"]
    return code("\n".join([*sorted(declares), definitions, *lines]))


def machine(opcodes: Iterable[int]) -> Code:
    """Return a function ``kernel`` that runs programs of some opcodes, which is begun to be compiled.

    Its signature is that of compiled regions. The numbers are: how many instructions and where;
    how many constants and where; how many inputs, and where their lengths and kinds stand (two
    numbers each, the kind by `KINDS`); outputs likewise, and where the tape positions of all their
    elements stand, one after the other; where the addresses of the functions stand. On the tape
    constants come first, then the elements of the inputs.
    """
    return _machine(BASIC if BASIC.issuperset(opcodes) else frozenset(range(len(INSTRUCTIONS))))


@cache
def _machine(opcodes: frozenset[int]) -> Code:
    declares: set[str] = set()
    cases = []
    for opcode in sorted(opcodes):
        instruction = INSTRUCTIONS[opcode]
        body = Body(1, f"o{opcode}.")
        _emit(body, instruction)
        declares |= body.declares
        cases += [f"case{opcode}:", *body.lines, "  br label %step"]
    table = " ".join(f"i32 {k}, label %case{k}" for k in sorted(opcodes))
    text = _MACHINE.replace("CASES", "\n".join(cases)).replace("TABLE", table).replace("WIDTH", str(4 * WIDTH))
    return code("\n".join([*sorted(declares), text]))


def _emit(body: Body, instruction: Instruction) -> None:
    values = []
    _, arguments, kind_of_result = instruction
    for k, kind in enumerate(arguments):
        place = body.emit(f"getelementptr i32, ptr %pc, i64 {2 + k}")
        position = body.emit(f"load i32, ptr {place}, align 4")
        address = body.emit(f"getelementptr double, ptr %tape, i32 {position}")
        value = body.emit(f"load double, ptr {address}, align 8")
        values.append(body.compare("une", _FLOAT, value, body.splat(0, _FLOAT)) if kind == "b" else value)
    result = _result(body, instruction, values)
    if kind_of_result == "b":
        result = body.emit(f"uitofp i1 {result} to double")
    body.do(f"store double {result}, ptr %result, align 8")


def _result(body: Body, instruction: Instruction, values: list[str]) -> str:
    op, arguments, kind_of_result = instruction
    if op == "call":
        place = body.emit("getelementptr i32, ptr %pc, i64 4")
        number = body.emit(f"load i32, ptr {place}, align 4")
        slot = body.emit(f"getelementptr ptr, ptr %functions, i32 {number}")
        address = body.emit(f"load ptr, ptr {slot}, align 8")
        return body.emit(f"call double {address}({', '.join(f'double {v}' for v in values)})")
    if op == "single":
        rounded = body.emit(f"fptrunc double {values[0]} to float")
        return body.emit(f"fpext float {rounded} to double")
    if op == "annihilating_by_first":
        product = body.emit(f"fmul double {values[0]}, {values[1]}")
        return annihilating(body, _FLOAT, product, values[:1])
    kinds = [_BOOL if kind == "b" else _FLOAT for kind in arguments]
    emitter: Callable[..., str] = EMITTERS[op]
    return emitter(body, _BOOL if kind_of_result == "b" else _FLOAT, kinds, *values)


_MACHINE = """
declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)

define void @kernel(ptr %p, ptr %n, ptr %tape, ptr %block, i64 %first, i64 %last, i64 %lo, i64 %hi) nounwind {
entry:
  %count = load i64, ptr %n
  %n1 = getelementptr i64, ptr %n, i64 1
  %n2 = getelementptr i64, ptr %n, i64 2
  %n3 = getelementptr i64, ptr %n, i64 3
  %n4 = getelementptr i64, ptr %n, i64 4
  %n5 = getelementptr i64, ptr %n, i64 5
  %n6 = getelementptr i64, ptr %n, i64 6
  %n7 = getelementptr i64, ptr %n, i64 7
  %n8 = getelementptr i64, ptr %n, i64 8
  %n9 = getelementptr i64, ptr %n, i64 9
  %code = load ptr, ptr %n1
  %constant.count = load i64, ptr %n2
  %constants = load ptr, ptr %n3
  %input.count = load i64, ptr %n4
  %inputs = load ptr, ptr %n5
  %output.count = load i64, ptr %n6
  %outputs = load ptr, ptr %n7
  %positions = load ptr, ptr %n8
  %functions = load ptr, ptr %n9
  %constant.bytes = shl i64 %constant.count, 3
  call void @llvm.memcpy.p0.p0.i64(ptr %tape, ptr %constants, i64 %constant.bytes, i1 false)
  br label %input
input:
  %i = phi i64 [ 0, %entry ], [ %i.next, %input.done ]
  %at = phi i64 [ %constant.count, %entry ], [ %at.next, %input.done ]
  %more.inputs = icmp slt i64 %i, %input.count
  br i1 %more.inputs, label %input.begin, label %run
input.begin:
  %i.next = add i64 %i, 1
  %i.place = getelementptr [2 x i64], ptr %inputs, i64 %i
  %i.kind.place = getelementptr i64, ptr %i.place, i64 1
  %i.length = load i64, ptr %i.place
  %i.kind = load i64, ptr %i.kind.place
  %i.slot = getelementptr ptr, ptr %p, i64 %i
  %i.data = load ptr, ptr %i.slot
  %at.next = add i64 %at, %i.length
  %i.is.bool = icmp eq i64 %i.kind, 1
  %i.is.double = icmp eq i64 %i.kind, 0
  br label %input.element
input.element:
  %ik = phi i64 [ 0, %input.begin ], [ %ik.next, %input.store ]
  %i.left = icmp slt i64 %ik, %i.length
  br i1 %i.left, label %input.load, label %input.done
input.load:
  %ik.next = add i64 %ik, 1
  br i1 %i.is.bool, label %input.bool, label %input.number
input.bool:
  %ib.place = getelementptr i8, ptr %i.data, i64 %ik
  %ib = load i8, ptr %ib.place
  %ib.true = icmp ne i8 %ib, 0
  %ib.double = uitofp i1 %ib.true to double
  br label %input.store
input.number:
  br i1 %i.is.double, label %input.double, label %input.float
input.float:
  %if.place = getelementptr float, ptr %i.data, i64 %ik
  %if = load float, ptr %if.place
  %if.double = fpext float %if to double
  br label %input.store
input.double:
  %id.place = getelementptr double, ptr %i.data, i64 %ik
  %id = load double, ptr %id.place
  br label %input.store
input.store:
  %i.value = phi double [ %ib.double, %input.bool ], [ %id, %input.double ], [ %if.double, %input.float ]
  %i.position = add i64 %at, %ik
  %i.target = getelementptr double, ptr %tape, i64 %i.position
  store double %i.value, ptr %i.target
  br label %input.element
input.done:
  br label %input
run:
  %code.bytes = mul i64 %count, WIDTH
  %end = getelementptr i8, ptr %code, i64 %code.bytes
  br label %dispatch
dispatch:
  %pc = phi ptr [ %code, %run ], [ %pc.next, %step ]
  %over = icmp eq ptr %pc, %end
  br i1 %over, label %output, label %decode
decode:
  %opcode = load i32, ptr %pc, align 4
  %result.place = getelementptr i32, ptr %pc, i64 1
  %result.position = load i32, ptr %result.place, align 4
  %result = getelementptr double, ptr %tape, i32 %result.position
  switch i32 %opcode, label %step [ TABLE ]
CASES
step:
  %pc.next = getelementptr i8, ptr %pc, i64 WIDTH
  br label %dispatch
output:
  %o = phi i64 [ 0, %dispatch ], [ %o.next, %output.done ]
  %from = phi i64 [ 0, %dispatch ], [ %from.next, %output.done ]
  %more.outputs = icmp slt i64 %o, %output.count
  br i1 %more.outputs, label %output.begin, label %done
output.begin:
  %o.next = add i64 %o, 1
  %o.place = getelementptr [2 x i64], ptr %outputs, i64 %o
  %o.kind.place = getelementptr i64, ptr %o.place, i64 1
  %o.length = load i64, ptr %o.place
  %o.kind = load i64, ptr %o.kind.place
  %o.argument = add i64 %input.count, %o
  %o.slot = getelementptr ptr, ptr %p, i64 %o.argument
  %o.data = load ptr, ptr %o.slot
  %from.next = add i64 %from, %o.length
  %o.is.bool = icmp eq i64 %o.kind, 1
  %o.is.double = icmp eq i64 %o.kind, 0
  br label %output.element
output.element:
  %ok = phi i64 [ 0, %output.begin ], [ %ok.next, %output.stored ]
  %o.left = icmp slt i64 %ok, %o.length
  br i1 %o.left, label %output.load, label %output.done
output.load:
  %ok.next = add i64 %ok, 1
  %o.entry = add i64 %from, %ok
  %o.entry.place = getelementptr i32, ptr %positions, i64 %o.entry
  %o.position = load i32, ptr %o.entry.place
  %o.source = getelementptr double, ptr %tape, i32 %o.position
  %o.value = load double, ptr %o.source
  br i1 %o.is.bool, label %output.bool, label %output.number
output.bool:
  %o.true = fcmp une double %o.value, 0.0
  %o.byte = zext i1 %o.true to i8
  %ob.target = getelementptr i8, ptr %o.data, i64 %ok
  store i8 %o.byte, ptr %ob.target
  br label %output.stored
output.number:
  br i1 %o.is.double, label %output.double, label %output.float
output.float:
  %o.float = fptrunc double %o.value to float
  %of.target = getelementptr float, ptr %o.data, i64 %ok
  store float %o.float, ptr %of.target
  br label %output.stored
output.double:
  %od.target = getelementptr double, ptr %o.data, i64 %ok
  store double %o.value, ptr %od.target
  br label %output.stored
output.stored:
  br label %output.element
output.done:
  br label %output
done:
  ret void
}
"""
