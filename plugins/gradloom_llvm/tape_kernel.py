"""Tape kernels: regions of small values as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np

from gradloom.graph import Graph
from gradloom.spec import Spec
from gradloom_llvm.engine import Library
from gradloom_llvm.invoke import ALIGNED, CONTIGUOUS, WRITEABLE, Argument, caller, invoke, record
from gradloom_llvm.scalars import Program, program
from gradloom_llvm.tape import WIDTH, function, machine

#: Instructions from which on other Python threads run meanwhile.
RELEASE_INSTRUCTIONS = 20_000


def begin_tape(region: Graph) -> Callable[[], Callable[..., Any]]:
    """Begin to compile a region of small values; what is returned waits for its kernel."""
    made = program(region)
    begun = [machine(set(made.words[::WIDTH].tolist())), *[function(name) for name in made.functions]]
    return lambda: _kernel(region, made, [finish() for finish in begun])


def _kernel(region: Graph, made: Program, libraries: list[Library]) -> Callable[..., Any]:
    specs, outs = region.input_specs(), region.output_specs()
    count = len(made.words) // WIDTH
    lengths = [np.array([(s.size, s.dtype.kind == "b") for s in some], np.int64) for some in (specs, outs)]
    addresses = np.array([library.address("function") for library in libraries[1:]], np.intp)
    words = [
        *(count, made.words.ctypes.data, len(made.constants), made.constants.ctypes.data),
        *(len(specs), lengths[0].ctypes.data, len(outs), lengths[1].ctypes.data, made.outputs.ctypes.data),
        addresses.ctypes.data,
    ]
    numbers = np.array(words, np.int64)
    arguments = [Argument(s.dtype, s.shape, CONTIGUOUS | ALIGNED) for s in specs]
    arguments += [Argument(s.dtype, s.shape, CONTIGUOUS | ALIGNED | WRITEABLE) for s in outs]
    release = count >= RELEASE_INSTRUCTIONS
    own = record(libraries[0].address("kernel"), numbers, (8 * made.length, 0), 1, 1, release, arguments)
    kept = Kept(libraries, made, lengths, addresses, numbers)

    def otherwise(inputs: list[Any], outputs: list[Any]) -> None:
        fitting = [as_asked(a, s) for a, s in zip(inputs, specs, strict=True)]
        kept.invoke(own, *fitting, *outputs)

    return caller(own, len(specs), [(s.shape, s.dtype) for s in outs], otherwise)


@final
class Kept:
    """What the numbers of a record point into; it lives as long as the kernel's function."""

    def __init__(self, *things: Any) -> None:
        self.things = things
        self.invoke = invoke()


def as_asked(value: Any, spec: Spec) -> Any:
    """Return an array in the dtype and layout that a program takes."""
    array = np.require(np.asarray(value, spec.dtype), requirements=("C", "A"))
    if array.shape != spec.shape:
        raise ValueError(f"expected an array of shape {spec.shape}, got {array.shape}")
    return array.view(np.ndarray)
