"""TapeKernel: a region of small values as a function of arrays."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from gradloom.graph import Graph
from gradloom_llvm.invoke import ALIGNED, CONTIGUOUS, WRITEABLE, Argument, invoke, record
from gradloom_llvm.scalars import program
from gradloom_llvm.tape import WIDTH, function, machine

#: Instructions from which on other Python threads run meanwhile.
RELEASE_INSTRUCTIONS = 20_000


@final
class TapeKernel:
    """A region's program, for arrays of its shapes."""

    def __init__(self, region: Graph) -> None:
        specs = region.input_specs()
        outs = region.output_specs()
        self._dtypes = [s.dtype for s in specs]
        self._shapes = [s.shape for s in specs]
        self._outs = [(s.shape, s.dtype) for s in outs]
        made = program(region)
        functions = [function(name) for name in made.functions]
        count = len(made.words) // WIDTH
        lengths = [np.array([(s.size, s.dtype.kind == "b") for s in some], np.int64) for some in (specs, outs)]
        addresses = np.array([address for _, address in functions], np.intp)
        # The numbers point into these.
        self._kept = (machine(), functions, made, lengths, addresses)
        numbers = [
            *(count, made.words.ctypes.data, len(made.constants), made.constants.ctypes.data),
            *(len(specs), lengths[0].ctypes.data, len(outs), lengths[1].ctypes.data, made.outputs.ctypes.data),
            addresses.ctypes.data,
        ]
        self._numbers = np.array(numbers, np.int64)
        arguments = [Argument(s.dtype, s.shape, CONTIGUOUS | ALIGNED) for s in specs]
        arguments += [Argument(s.dtype, s.shape, CONTIGUOUS | ALIGNED | WRITEABLE) for s in outs]
        release = count >= RELEASE_INSTRUCTIONS
        self._record = record(
            machine().address("kernel"), self._numbers, (8 * made.length, 0), 1, 1, release, arguments
        )
        self._invoke = invoke()

    def __call__(self, *arrays: Any) -> Any:
        """Return the region's output, a tuple if it has several."""
        outs = [np.empty(shape, dtype) for shape, dtype in self._outs]
        try:
            self._invoke(self._record, *arrays, *outs)
        except TypeError:
            self._invoke(self._record, *self._as_asked(arrays), *outs)
        results = [out if out.ndim else out[()] for out in outs]
        return results[0] if len(results) == 1 else tuple(results)

    def _as_asked(self, arrays: tuple[Any, ...]) -> list[Any]:
        """Return arrays in the dtype and layout that the program takes."""
        asked = []
        for array, dtype, shape in zip(arrays, self._dtypes, self._shapes, strict=True):
            fitting = np.require(np.asarray(array, dtype), requirements=("C", "A"))
            if fitting.shape != shape:
                raise ValueError(f"expected an array of shape {shape}, got {fitting.shape}")
            asked.append(fitting.view(np.ndarray))
        return asked
