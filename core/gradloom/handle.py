"""Handle: what a trace gives out for a value, and what is known of values from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from gradloom.backend import spec_of
from gradloom.refusals import trace_ended
from gradloom.spec import Spec


class Abstract:
    """The value of an input that is known only by its spec (under `jit`, say)."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Handle:
    """What a trace gives out for a value; `Tensor` is its one subclass for users."""

    __slots__ = ("_index", "_memory", "_trace", "spec")

    _trace: Any
    #: Id of the node in its trace.
    _index: Any
    spec: Spec
    #: What it shares with others, for `gradloom.alias`.
    _memory: Any

    def __init__(self, trace: Any, index: Any, spec: Any) -> None:
        self._trace = trace
        self._index = index
        self.spec = spec
        self._memory = None


#: A handle with nothing in it, for hot paths.
new_handle: Callable[[type[Handle]], Handle] = object.__new__


class _Ended(list[Any]):
    """Stands in for the node list of a trace that has ended."""

    def append(self, node: Any) -> NoReturn:
        raise trace_ended()


#: The one of them.
ENDED = _Ended()


def innermost(values: Any) -> Any:
    """Return the trace of the highest level among some values, or None."""
    found = None
    for value in values:
        if isinstance(value, Handle) and (found is None or value._trace.level > found.level):
            found = value._trace
    return found


def listed_array(value: Any) -> np.ndarray[Any, Any] | None:
    """Return a list or tuple of numbers as an array, as NumPy does with operands; None for anything else."""
    if not isinstance(value, (list, tuple)):
        return None
    try:
        array = np.asarray(value)
    except (TypeError, ValueError):  # tensors inside, or rows of several lengths
        return None
    return None if spec_of(array) is None else array
