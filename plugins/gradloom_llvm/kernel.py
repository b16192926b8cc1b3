"""Kernel: a compiled region as a function of arrays."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import zip_longest
from typing import Any, final

import numpy as np

from gradloom.graph import Graph
from gradloom.memory import empty
from gradloom.polymorphic import Shared
from gradloom.sharing import allowed
from gradloom.symbolic import compute
from gradloom_llvm import tiers, vectormath
from gradloom_llvm.codegen import generate, generate_pairs
from gradloom_llvm.engine import host_vector_bytes
from gradloom_llvm.invoke import (
    ALIGNED,
    CONTIGUOUS,
    WRITEABLE,
    Argument,
    Entry,
    Loaded,
    as_asked,
    caller,
    invoke,
    invoke_by_team,
    invoke_in_turns,
    record,
    words,
)
from gradloom_llvm.layout import lay_out
from gradloom_llvm.loops import Loops
from gradloom_llvm.statements import Labels

#: Estimated seconds from which on other Python threads run meanwhile.
RELEASE_SECONDS = 50e-6
#: Estimated seconds of arithmetic from which on several threads share a kernel; of traffic with memory it takes more,
#: since what another core computed last lies in its cache.
THREAD_SECONDS = 100e-6
TRAFFIC_SECONDS = 150e-6


#: Elements up to which an array that is not C-contiguous is copied, which is less than code for its strides costs.
COPIED = 4096

_BYTE = np.dtype(np.uint8)

#: Of one core, roughly: seconds a vector instruction, and bytes read or written a second.
INSTRUCTION_SECONDS = 0.5e-9
BYTES = 10e9


@final
class Kernel:
    """A region's compiled form for arrays of its shapes.

    Parameters
    ----------
    region : Graph
    own : Measures, optional
        Those for C-contiguous arrays, where they are known.

    Notes
    -----
    C-contiguous arrays go straight to the native function. Others are taken as they are, by code
    made for their strides, or copied where they are small or no such code can be. Compiling begins when this is made.
    """

    def __init__(self, region: Graph, own: Measures | None = None) -> None:
        self._region = region
        self._plain = _Variant(region, None, own or Measures(*measured(Loops(region))))
        self._variants: dict[Any, _Variant] = {}

    def function(self) -> Callable[..., Any]:
        """Return the kernel as a function of the region's inputs, when it is compiled."""
        plain = self._plain
        plain.load()
        region, sharing = self._region, (plain.workers, plain.workspace) if plain.threaded else None
        made: Any = caller(plain.entry, len(region.inputs), region.output_specs(), self._run, sharing)
        made.finish = self.finish
        return made  # type: ignore[no-any-return]

    def finish(self) -> None:
        """Wait for the best code for all the layouts that there have been."""
        for variant in (self._plain, *self._variants.values()):
            variant.entry.finish()

    def _run(self, arrays: list[Any], outs: list[Any]) -> None:
        """Run the code that fits some arrays, in several threads where that pays and is allowed."""
        inputs = [as_asked(a, spec, COPIED) for a, spec in zip(arrays, self._region.input_specs(), strict=True)]
        self._variant(inputs).run(inputs, outs)

    def _variant(self, inputs: list[Any]) -> _Variant:
        """Return the code for the strides of some arrays."""
        key = tuple([None if a.flags.c_contiguous else a.strides for a in inputs])
        variant = self._variants.get(key)
        if variant is None:
            if not any(key):
                return self._plain
            if len(self._variants) >= 64:
                self._variants.clear()
            variant = _Variant(self._region, key, _measures(self._region, key))
            variant.load()
            self._variants[key] = variant
        return variant


@final
class Measures:
    """What a kernel of a region is made of, for its sizes; plain data, see `measured`.

    Attributes
    ----------
    text : str
        Its code.
    words : tuple of int
        What its record consists of.
    threaded : int
        Whether several threads may share it.
    waits : int
        Whether `generate_pairs` writes faster code.
    """

    __slots__ = ("text", "threaded", "waits", "words")

    def __init__(self, text: str, words: tuple[int, ...], threaded: int, waits: int) -> None:
        self.text, self.words = text, words
        self.threaded, self.waits = threaded, waits

    @property
    def workspaces(self) -> tuple[int, int]:
        """Bytes of the workspace that all threads share, and of that of each."""
        return self.words[3], self.words[2] - self.words[3]

    @property
    def chunks(self) -> int:
        """How many there are."""
        return self.words[5]


def measured(loops: Loops, strides: tuple[Any, ...] | None = None) -> tuple[Any, ...]:
    """Return the measures of the kernel of some loops, made for arrays of some strides, as a tuple."""
    code = generate(loops, host_vector_bytes())
    layout = lay_out(loops, code.parameters)
    seconds = estimated_seconds(loops)
    rows = [phase.row << t for t, phase in enumerate(loops.phases)]
    threaded = compute(_is_threaded, len(rows), layout.chunks, *seconds)
    phases = compute(operator.mul, threaded, sum(rows)), len(rows)
    workspaces, release = (layout.workspace, layout.block), compute(_releases, *seconds)
    arguments = _arguments(loops.region, strides or ())
    made = words(workspaces, phases, layout.chunks, release, arguments, layout.numbers)
    return code.text, made, threaded, int(code.waits)


def _measures(region: Graph, strides: tuple[Any, ...]) -> Measures:
    """Return the measures of a region's kernel for arrays of some strides."""
    kinds = tuple([None if own is None else tuple([n and 1 for n in own]) for own in strides])
    return Measures(*_for_strides(kinds)(region, *[n for own in strides if own for n in own if n]))


@lru_cache(maxsize=256)
def _for_strides(kinds: tuple[Any, ...]) -> Shared[tuple[Any, ...]]:
    """Return what measures kernels for arrays of some kinds of strides, given those that are not zero."""

    def of(region: Graph, *given: int) -> tuple[Any, ...]:
        rest = iter(given)
        strides = tuple([None if own is None else tuple([n and next(rest) for n in own]) for own in kinds])
        return measured(Loops(region, strides), strides)

    return Shared(of)


def _arguments(region: Graph, strides: Sequence[Any]) -> list[Argument]:
    """Return what the arguments of a region's kernel must be; inputs that have no strides are C-contiguous."""
    found: list[Argument] = []
    for spec, own in zip_longest(region.input_specs(), strides):
        found.append((spec.dtype, spec.shape, ALIGNED if own else CONTIGUOUS | ALIGNED))
    return found + [(s.dtype, s.shape, CONTIGUOUS | ALIGNED | WRITEABLE) for s in region.output_specs()]


def _is_threaded(phases: int, chunks: int, arithmetic: float, traffic: float) -> int:
    pays = arithmetic >= THREAD_SECONDS or arithmetic + traffic >= TRAFFIC_SECONDS
    return int(pays and chunks > 1 and phases < 64)


def _releases(arithmetic: float, traffic: float) -> int:
    return int(arithmetic + traffic >= RELEASE_SECONDS)


def estimated_seconds(loops: Loops) -> tuple[float, float]:
    """Return roughly how long a kernel takes on one core: its arithmetic, and its traffic with memory."""
    lanes, costly = host_vector_bytes() / 8.0, vectormath.names()
    instructions: dict[frozenset[int], float] = {}
    for s in loops.statements:
        of_doubles = loops.values[s.id].dtype.itemsize / 8.0
        own = 20.0 if s.op is not None and s.op.name in costly else 1.0
        instructions[s.loop] = instructions.get(s.loop, 0.0) + own * of_doubles / lanes
    arithmetic = sum([INSTRUCTION_SECONDS * count * loops.points(loop) for loop, count in instructions.items()])
    moved: dict[Labels, int] = {}
    for i in (*loops.region.inputs, *loops.outputs):
        value = loops.values[i]
        moved[value.labels] = moved.get(value.labels, 0) + value.dtype.itemsize
    return arithmetic, sum([size * loops.points(labels) for labels, size in moved.items()]) / BYTES


@final
class _Variant:
    """A region's code for C-contiguous inputs, or for inputs of given strides."""

    def __init__(self, region: Graph, strides: tuple[Any, ...] | None, own: Measures) -> None:
        better = (lambda: generate_pairs(Loops(region, strides), host_vector_bytes())) if own.waits else None
        self._code = tiers.code(own.text, better)
        self._own = own
        self.threaded = bool(own.threaded)

    def load(self) -> None:
        """Wait until there is code."""
        self.entry = Entry([self._code], self._load, self.threaded)

    def _load(self) -> Loaded:
        library = self._code.library()
        return record(library.address("kernel"), self._own.words), library

    def workers(self) -> int:
        """Return how many threads run it here."""
        return min(allowed(), self._own.chunks) if self.threaded else 1

    def workspace(self, workers: int) -> np.ndarray[Any, Any]:
        """Return workspace for some threads."""
        shared, each = self._own.workspaces
        return empty((shared + workers * each,), _BYTE)

    def run(self, inputs: list[Any], outs: list[Any]) -> None:
        """Run the code, in several threads where that pays and is allowed."""
        workers = self.workers()

        def run(loaded: Loaded) -> None:
            if workers < 2:
                invoke(loaded[0], *inputs, *outs)
            else:
                (invoke_by_team if self.entry.settled else invoke_in_turns)(loaded[0], workers, *inputs, *outs)

        self.entry.run(run)
