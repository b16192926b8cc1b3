"""Tape kernels: regions of small values as functions of arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np

from gradloom.graph import Graph
from gradloom_llvm.invoke import ALIGNED, CONTIGUOUS, WRITEABLE, Entry, Loaded, as_asked, caller, invoke, record, words
from gradloom_llvm.scalars import Program
from gradloom_llvm.tape import KINDS, WIDTH, function, machine

#: Instructions from which on other Python threads run meanwhile.
RELEASE_INSTRUCTIONS = 20_000


@final
class TapeKernel:
    """A region of small values as a program on a tape. Compiling begins when this is made."""

    def __init__(self, region: Graph) -> None:
        self._specs, self._outs = region.input_specs(), region.output_specs()
        self._program = made = Program(region)
        self._codes = [machine(set(made.words[::WIDTH].tolist())), *[function(name) for name in made.functions]]
        #: How long inputs and outputs are, and of which kinds.
        self._lengths = [
            np.array([(s.size, KINDS[s.dtype]) for s in specs], np.int64) for specs in (self._specs, self._outs)
        ]

    def function(self) -> Callable[..., Any]:
        """Return the kernel as a function of the region's inputs, when it is compiled."""
        self._entry = Entry(self._codes, self._load)
        made: Any = caller(self._entry, len(self._specs), self._outs, self._run)
        made.finish = self._entry.finish
        return made  # type: ignore[no-any-return]

    def _load(self) -> Loaded:
        made, (of_inputs, of_outputs) = self._program, self._lengths
        libraries = [code.library() for code in self._codes]
        addresses = np.array([library.address("function") for library in libraries[1:]], np.intp)
        count = len(made.words) // WIDTH
        numbers = [
            *(count, made.words.ctypes.data, len(made.constants), made.constants.ctypes.data),
            *(len(self._specs), of_inputs.ctypes.data, len(self._outs), of_outputs.ctypes.data),
            *(made.outputs.ctypes.data, addresses.ctypes.data),
        ]
        arguments = [(s.dtype, s.shape, CONTIGUOUS | ALIGNED) for s in self._specs]
        arguments += [(s.dtype, s.shape, CONTIGUOUS | ALIGNED | WRITEABLE) for s in self._outs]
        release = int(count >= RELEASE_INSTRUCTIONS)
        own = words((8 * made.length, 0), (0, 1), 1, release, arguments, numbers)
        return record(libraries[0].address("kernel"), own), (libraries, addresses)

    def _run(self, inputs: list[Any], outs: list[Any]) -> None:
        fitting = [as_asked(a, s) for a, s in zip(inputs, self._specs, strict=True)]
        self._entry.run(lambda loaded: invoke(loaded[0], *fitting, *outs))
