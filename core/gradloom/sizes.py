"""Sizes: one trace of a function for all lengths of its arguments' axes.

What a function does hardly ever depends on lengths. Where its trace is a large one, it is traced with symbolic lengths
(`gradloom.symbolic`) when a second shape comes; for further ones that trace is written down, and the function does not
run. To the function a length that it asks for (``x.shape[0]``, ``len(x)``) is a plain number, of which note is taken:
then the trace serves shapes with that length alone. What it reads besides its arguments must not have changed
(`gradloom.closure`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Any, final

import numpy as np

from gradloom.handle import Handle
from gradloom.polymorphic import Known, Result, node_count
from gradloom.recent import Recent
from gradloom.spec import Spec
from gradloom.structure import Structure, WithSymbols
from gradloom.symbolic import Guards
from gradloom.tracing import Traced

#: Nodes from which on a trace is worth the work: a function that depends on lengths after all is traced twice for some.
LARGE = 150
#: How often a function is traced with symbolic lengths in vain.
TRIES = 2
#: How many traces one with symbolic lengths is compared with: of even and odd numbers of samples it may be another.
LATEST = 2

#: Traces a function for arguments of some specs.
_Trace = Callable[[list[Spec]], Traced]
#: Returns what the function reads besides them; None where that may change unseen.
_Read = Callable[[], Hashable | None]


@final
class AnySize:
    """The traces of one function, found for arguments of other lengths without running it, where they can be.

    Parameters
    ----------
    most : int
        How many kinds of arguments are remembered that differ in more than lengths.
    """

    def __init__(self, most: int = 32) -> None:
        self._families: Recent[_Family] = Recent(most)

    def trace(self, key: Hashable, specs: list[Spec], trace: _Trace, read: _Read) -> Traced:
        """Return the trace of the function.

        Parameters
        ----------
        key : hashable
            What it depends on besides the specs.
        specs : list of Spec
            Of the arguments.
        trace : callable
            Runs the function; takes specs, and returns their `Traced`.
        read : callable
            Returns what the function reads besides its arguments, see `gradloom.closure`.
        """
        if any([spec.symbolic for spec in specs]):  # those of a trace around this one, which serves all sizes
            return trace(specs)
        structure = Structure()
        kind = key, tuple(map(structure.spec, specs))
        return self._families.get(kind, _Family).trace(structure, specs, trace, read)


@final
class _Family:
    """The traces for arguments that differ in lengths alone."""

    def __init__(self) -> None:
        self._known = Known()
        #: The lengths of the latest traces, what else the function read, and the trace.
        self._latest: deque[tuple[Sequence[int], Hashable | None, Traced]] = deque(maxlen=LATEST)
        #: How often symbolic lengths may still be in vain: by chance, or because the function depends on their values.
        self._tries = TRIES

    def trace(self, structure: Structure, specs: list[Spec], trace: _Trace, read: _Read) -> Traced:
        if not self._latest:
            return self._first(structure.numbers, trace(specs), read)
        outside = self._read(read)
        if outside is None:
            return trace(specs)
        numbers = structure.numbers
        found: Traced | None = self._known.find(lambda general: general.at(numbers, outside))
        if found is not None:
            return found
        expected = [(others, traced) for others, read_then, traced in list(self._latest) if read_then == outside]
        if expected and self._known.pays():
            found = self._for_all(structure, specs, trace, outside, expected)
        if found is None:
            found = trace(specs)
        self._latest.appendleft((numbers, outside, found))
        return found

    def _first(self, numbers: Sequence[int], traced: Traced, read: _Read) -> Traced:
        """Return the first trace, and take note of it."""
        if node_count(traced.graph) < LARGE:
            self._tries = 0
        outside = self._read(read)
        # Where it is not known what the function reads, tensors of a trace around it may be among that.
        self._latest.appendleft((numbers, outside, traced._replace(captured=[]) if outside is None else traced))
        return traced

    def _read(self, read: _Read) -> Hashable | None:
        """Return what the function reads; what cannot be told is hardly ever told later, and not asked for again."""
        if not self._tries:
            return None
        outside = read()
        if outside is None:
            self._tries -= 1
        return outside

    def _for_all(
        self,
        structure: Structure,
        specs: list[Spec],
        trace: _Trace,
        outside: Hashable | None,
        expected: Sequence[tuple[Sequence[int], Traced]],
    ) -> Traced | None:
        """Trace with symbolic lengths, and remember that; None where for others it does not give what is expected."""
        try:
            general = General.of(structure, specs, trace, outside)
        except Exception:  # with plain lengths it raises again what is the user's affair
            self._tries -= 1
            return None
        # Those of a trace around this one will have ended.
        if any([isinstance(value, Handle) for value in general.captured]):
            return None
        again = [(written, traced) for lengths, traced in expected if (written := general.at(lengths, outside))]
        if not again:
            self._tries -= 1
            return None
        if not all(itertools.starmap(_are_equal, again)):  # it read what cannot be seen
            self._tries = 0
            return None
        self._known.add(general)
        return general.at(structure.numbers, outside)


def _are_equal(one: Traced, other: Traced) -> bool:
    """Return whether a function has done the same twice."""
    return (
        one.graph == other.graph
        and one.graph.specs == other.graph.specs
        and one.structure == other.structure
        and all(map(_are_alike, one.captured, other.captured))
    )


def _are_alike(a: Any, b: Any) -> bool:
    """Return whether arrays or numbers that a function closed over, or made, are the same or have the same content."""
    if a is b or type(a) is not type(b) or not isinstance(a, (np.ndarray, np.generic)):
        return a is b
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@final
class General:
    """A trace with symbolic lengths.

    Parameters
    ----------
    guards : Guards
        The symbolic numbers of the trace.
    traced : Traced
        It.
    outside : hashable
        What else the function read.
    """

    def __init__(self, guards: Guards, traced: Traced, outside: Hashable) -> None:
        self._traced = traced
        self._outside = outside
        self._result = Result(guards, [], traced.graph)

    @classmethod
    def of(cls, structure: Structure, specs: list[Spec], trace: _Trace, outside: Hashable) -> General:
        """Trace a function with symbolic lengths for those of some specs, which ``structure`` has looked at."""
        guards = Guards(structure.numbers)
        symbols = WithSymbols(dict(zip(structure.places, guards.numbers, strict=True)))
        traced = trace(list(map(symbols.spec, specs)))
        # What is asked to find its graph again is to be asked before there are graphs of other lengths.
        Structure().graph(traced.graph)
        return cls(guards, traced, outside)

    @property
    def captured(self) -> list[Any]:
        """What the function closes over."""
        return self._traced.captured

    def at(self, numbers: Sequence[int], outside: Hashable) -> Traced | None:
        """Return the trace for other lengths; None where it may be another one."""
        if outside != self._outside:
            return None
        graph = self._result.graph(numbers, [], lambda: self._traced.graph)
        return None if graph is None else self._traced._replace(graph=graph)
