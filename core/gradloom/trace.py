"""Trace: records what user code does with tensors as the nodes of a graph.

A tensor knows its own trace and traces have increasing levels, so there is no global
tracing state: an op belongs to the innermost trace among its arguments, and tensors of
outer traces are captured as inputs.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Any

import numpy as np

from gradloom.backend import spec_of
from gradloom.errors import TraceEndedError
from gradloom.graph import INPUT, LITERAL, Graph, RawNode, literal_key
from gradloom.handle import ENDED, Abstract, Handle, innermost, listed_array, new_handle
from gradloom.op import Op
from gradloom.placement import PLACE, after, moved, placed
from gradloom.protection import protect, release
from gradloom.recorder import COMPARISONS, Recorder, comparable
from gradloom.refusals import abstract_value, not_an_array, number_of, trace_ended
from gradloom.source import USER_FILES, RawSource, user_source
from gradloom.spec import PYTHON_SCALARS, Spec, recent_spec
from gradloom.symbolic import Symbolic, concrete, decide, settled

__all__ = ["COPY_LIMIT", "Abstract", "Handle", "Trace", "innermost", "resume"]

_LEVELS = itertools.count(1)
#: Arrays up to this many bytes are copied when captured; larger ones are write-protected
#: while the trace lasts, so that changing them between two uses cannot go unnoticed.
COPY_LIMIT = 16_384
_place = PLACE.get


class Trace(Recorder):
    """A graph under construction.

    Parameters
    ----------
    handle : type
        The class of the tensors given out.
    evaluate : callable, optional
        ``evaluate(trace, index, action)`` computes a value on demand; without it, asking raises.
    copies : bool, default True
        Whether small captured arrays are copied; if not, all are write-protected while the
        trace lasts, and a graph that outlives the trace sees their later content. A trace within
        one that does not copy does not either.
    """

    __slots__ = (
        "_captured",
        "_copied",
        "_count",
        "_literals",
        "_protected",
        "_recording",
        "_symbolic",
        "copies",
        "defers",
        "evaluate",
        "followable",
        "handle",
        "input_values",
        "inputs",
        "level",
        "literal_keys",
        "literals",
        "lookups",
        "moves",
        "nodes",
        "origin",
        "places",
        "runs_user_code",
        "scalars",
        "sources",
        "specs",
        "values",
        "wrt",
    )

    def __init__(
        self,
        handle: type[Handle],
        evaluate: Callable[[Trace, int, str], Any] | None = None,
        copies: bool = True,
    ) -> None:
        self.level = next(_LEVELS)
        self.copies = copies
        self.handle = handle
        self.evaluate = evaluate
        self.nodes: list[RawNode] = []
        self.specs: list[Any] = []
        self.sources: list[RawSource | None] = []
        #: Whether ids and attrs of the nodes alone decide about their specs.
        self.followable = True
        self.inputs: list[int] = []
        #: What each input stands for: an array, a tensor of an outer trace, or `Abstract`.
        self.input_values: dict[int, Any] = {}
        self.literals: list[Any] = []
        #: What tells each literal's value from others.
        self.literal_keys: list[Any] = []
        #: The scalars in the user's code, by the ids of their literals.
        self.scalars: dict[int, Any] = {}
        #: How often somebody asked where a value comes from.
        self.lookups = 0
        #: Values computed on demand, by node id.
        self.values: dict[int, Any] = {}
        #: When set, nodes are the derivative of the node with this source.
        self.origin: RawSource | None = None
        #: Inputs that are being differentiated.
        self.wrt: Collection[int] = ()
        #: Whether a user's function runs in it, not a transform: then ops run where `gradloom.device` says.
        self.runs_user_code = evaluate is not None
        #: Whether gradients of functions are single nodes until the graph is simplified; see `gradloom.program`.
        self.defers = False
        #: The places of the first nodes, and nodes that were moved, by place and id; see `gradloom.placement`.
        self.places: list[str | None] = []
        self.moves: dict[tuple[str | None, int], int] = {}
        self._captured: dict[Any, int] = {}
        #: The arrays that were copied, by the ids of their copies.
        self._copied: dict[int, np.ndarray[Any, Any]] = {}
        self._literals: dict[Any, int] = {}
        #: The keys of those that are symbolic numbers, by what they are as plain ones.
        self._symbolic: dict[Any, tuple[int, Symbolic]] = {}
        self._protected: list[np.ndarray[Any, Any]] = []
        #: What is followed, and how many nodes of it; the lists belong to it till it is left. See `gradloom.follow`.
        self._recording: Any = None
        self._count = 0

    # -- recording ---------------------------------------------------------------------

    def bind(self, op: Op, args: Any, attrs: tuple[Any, ...] = (), out: Any = None) -> Any:
        """Record an op on arguments and return its output tensor (or tuple of tensors)."""
        if (_place() is not None or self.moves) and self.runs_user_code:
            args = placed(self, op, args, attrs)
        handle = self.handle
        ids: Any
        specs: Any
        # The common shapes of a call come first: this runs once per op of every trace.
        if len(args) == 1 and type(args[0]) is handle and args[0]._trace is self:
            ids, specs = (args[0]._index,), (args[0].spec,)
            literal = False
        elif len(args) == 2 and type(args[0]) is type(args[1]) is handle and args[0]._trace is args[1]._trace is self:
            ids, specs = (args[0]._index, args[1]._index), (args[0].spec, args[1].spec)
            literal = False
        else:
            if op.name in COMPARISONS:
                args = comparable(args)
            ids, specs, literal = self._lift_all(args, op)
        if out is None:
            out, casts = op.known.get(specs + attrs) or self._infer(op, specs, attrs)
            if literal or casts is not None:
                ids = self._fit(op, ids, args, specs, casts)
        source = self.origin
        if source is None:
            frame = sys._getframe(2)
            code = frame.f_code
            source = (code, frame.f_lasti, -1) if code.co_filename in USER_FILES else user_source(frame)
        # As `append` does.
        nodes = self.nodes
        index = len(nodes)
        nodes.append((op, ids, attrs))
        self.specs.append(out)
        self.sources.append(source)
        if type(out) is tuple:
            return self._given_out(index, out, source)
        # What `handle(self, index, out)` does, in half the time.
        tensor = new_handle(handle)
        tensor._trace, tensor._index, tensor.spec, tensor._memory = self, index, out, None
        return tensor

    def append(
        self, op: Op, inputs: tuple[int, ...], attrs: tuple[Any, ...], spec: Any, source: RawSource | None
    ) -> int:
        """Append a node as it stands, without spec rule or casts, and return its id."""
        self.nodes.append((op, inputs, attrs))
        self.specs.append(spec)
        self.sources.append(source)
        return len(self.nodes) - 1

    def definition(self, index: int) -> RawNode:
        """Return op, inputs and attrs of a node."""
        if self.nodes is ENDED:
            raise trace_ended()
        self.lookups += 1
        return self.nodes[index]

    def literal(self, value: Any, dtype: Any) -> int:
        """Return the node of a Python scalar in the user's code."""
        value = settled(value)
        key = dtype.num, literal_key(value)
        found = self._literals.get(key)
        if found is None and (self._symbolic or type(value) is Symbolic):
            found = self._equal_literal(key)
        if found is not None:
            return found
        if type(value) is int:
            number_of(value, dtype)
        elif type(value) is bool:  # unlike numbers it is not weak, which the node does not show
            self.diverge()
        spec = recent_spec((), dtype)
        index = self.append(LITERAL, (), (spec, len(self.literals)), spec, None)
        self.scalars[index] = value
        self.literals.append(value)
        self.literal_keys.append(key[1])
        self._literals[key] = index
        return index

    def _equal_literal(self, key: tuple[int, Any]) -> int | None:
        """Return the literal that is equal where one of both is a symbolic number, which takes note of that."""
        dtype, value = key
        plain = dtype, literal_key(concrete(value))
        symbolic = type(value) is Symbolic
        other = plain if symbolic and plain in self._literals else self._symbolic.get(plain)
        if other is None and symbolic:
            self._symbolic[plain] = key
        if other is None or str in (type(value), type(other[1])):
            return None
        bool(value == other[1])
        return self._literals[other]

    def protect(self, value: Any) -> None:
        """Write-protect an array while the trace lasts."""
        if type(value) is np.ndarray:
            protect(value, self._protected)

    def add_argument(self, spec: Spec, value: Any) -> Handle:
        """Add an input for an argument of the traced function, and protect it."""
        self.protect(value)
        return self.add_input(spec, value)

    def add_input(self, spec: Spec, value: Any) -> Handle:
        """Add an input and return its tensor."""
        return self.handle(self, self._input(spec, value), spec)

    def _input(self, spec: Spec, value: Any) -> int:
        index = self.append(INPUT, (), (spec,), spec, None)
        self.inputs.append(index)
        self.input_values[index] = value
        self.nest(value)
        return index

    def nest(self, outer: Any) -> None:
        """Capture arrays by reference, those captured before too, if a value from outside is of a trace that does."""
        if self.copies and isinstance(outer, Handle) and not outer._trace.copies:
            self.copies = False
            for index, array in self._copied.items():
                if array.tobytes() == self.input_values[index].tobytes():
                    self.protect(array)
                    self.input_values[index] = array

    def tensor(self, index: int) -> Handle:
        """Return a new tensor for a node."""
        return self.handle(self, index, self.specs[index])

    def place(self, index: int) -> str | None:
        """Return where a node runs; see `gradloom.placement`."""
        places = self.places
        while len(places) <= index:
            op, inputs, attrs = self.nodes[len(places)]
            places.append(after(op, attrs, [places[j] for j in inputs]))
        return places[index]

    def home(self, index: int) -> int:
        """Return a node that is to be seen from outside, copied home if it is elsewhere."""
        return moved(self, index, None) if self.moves else index

    def static(self, index: int) -> Any:
        """Return the value of a literal node, None for any other node."""
        return self.scalars.get(index)

    def strong(self, tensor: Handle) -> Handle:
        """Return a tensor of the same node that does not yield to other dtypes."""
        self.diverge()
        return self.handle(self, tensor._index, tensor.spec.strong())

    def repeated(self, purpose: Any) -> Any:
        """Return the recording that was followed to its end for a purpose, None if there is none."""
        return None

    def leave(self) -> None:
        """Stop following an earlier trace; see `gradloom.follow`."""

    def diverge(self) -> None:
        """Take note that the nodes no longer tell all specs: no trace can follow this one."""
        self.leave()
        self.followable = False

    # -- capturing ---------------------------------------------------------------------

    def lift(self, value: Any, op: Op | None = None) -> int:
        """Return the node that stands for any value: tensor, array or scalar."""
        if type(value) is np.ndarray and value.dtype.kind in "biufc":
            return self._capture_array(value, recent_spec(value.shape, value.dtype))
        if isinstance(value, Handle):
            if value._trace is self:
                index: int = value._index
                return index
            if value._trace.nodes is ENDED:
                raise trace_ended()
            if value._trace.level > self.level:
                raise TraceEndedError(
                    "a tensor of an inner trace was used outside it",
                    op=None if op is None else op.name,
                    remedy="return the value from the inner function instead of storing it",
                )
            return self._capture((id(value._trace), value._index), value.spec, value)
        if type(value) is Symbolic:
            spec = PYTHON_SCALARS.get(type(value.value))
            return self.lift(value.plain(), op) if spec is None else self.literal(value, spec.dtype)
        spec = spec_of(value)
        if spec is None:
            array = listed_array(value)
            if array is None:
                raise self._located(not_an_array(value), op)
            return self.lift(array, op)
        if type(value) in PYTHON_SCALARS:
            return self.literal(value, spec.dtype)
        if isinstance(value, np.ndarray):
            return self._capture_array(value, spec)
        return self._capture(id(value), spec, value)

    def _capture(self, key: Any, spec: Spec, value: Any) -> int:
        found = self._captured.get(key)
        if found is None:
            found = self._captured[key] = self._input(spec, value)
        return found

    def _capture_array(self, array: np.ndarray[Any, Any], spec: Spec) -> int:
        """Capture an array so that it cannot change unseen between two uses."""
        if not self.copies or array.nbytes > COPY_LIMIT or not array.dtype.isnative:
            self.protect(array)
            return self._capture(id(array), spec, array)
        key = spec, array.tobytes()
        found = self._captured.get(key)
        if found is None:
            snapshot: Any = np.ndarray(array.shape, array.dtype, key[1])
            found = self._captured[key] = self._input(spec, snapshot)
            self._copied[found] = array
        return found

    # -- ending ------------------------------------------------------------------------

    def key(self) -> tuple[RawNode, ...]:
        """Return the structure recorded so far: hashable, and free of literal values."""
        self.leave()
        return tuple(self.nodes)

    def graph(self, outputs: tuple[int, ...]) -> Graph:
        """Return what was recorded so far as a graph."""
        self.leave()
        if self._symbolic:  # they are equal to no others
            others = frozenset([key for key in self._literals if type(key[1]) is not Symbolic])
            dtypes, numbers = zip(*self._symbolic.values(), strict=True)
            decide(partial(_are_apart, others, dtypes), *numbers)
        return Graph(
            tuple(self.nodes),
            tuple(self.specs),
            tuple(self.inputs),
            outputs,
            tuple(self.literals),
            tuple(self.sources),
        )

    def end(self) -> None:
        """End the trace: its tensors raise from now on, and captured arrays are released."""
        self.nodes = ENDED
        self.evaluate = None
        self.values.clear()
        self._copied.clear()
        release(self._protected)

    # -- values on demand --------------------------------------------------------------

    def demand(self, index: int, action: str) -> Any:
        """Return the value of a node now, for ``action`` (``"bool()"``, say)."""
        if self.nodes is ENDED:
            raise trace_ended()
        if self.evaluate is None:
            reasons = [v.reason for v in self.input_values.values() if isinstance(v, Abstract)]
            raise abstract_value(action, reasons[0] if reasons else "its trace holds no values")
        return self.evaluate(self, index, action)

    def carries_gradient(self, index: int) -> bool:
        """Return whether a node depends smoothly on an input that is being differentiated."""
        if self.nodes is ENDED:
            raise trace_ended()
        seen = {index}
        stack = [index]
        while stack:
            i = stack.pop()
            op, inputs, _ = self.nodes[i]
            if op is INPUT and self._input_carries_gradient(i):
                return True
            spec = self.specs[i]
            if not op.zero_derivative and (type(spec) is tuple or spec.inexact):
                stack += [j for j in inputs if j not in seen]
                seen.update(inputs)
        return False

    def _input_carries_gradient(self, i: int) -> bool:
        if i in self.wrt:
            return True
        value = self.input_values.get(i)
        return isinstance(value, Handle) and value._trace.carries_gradient(value._index)


def resume(graph: Graph, handle: type[Handle]) -> Trace:
    """Return a trace that continues a finished graph, for transforms that append to it."""
    trace = Trace(handle)
    trace.nodes = list(graph.nodes)
    trace.specs = list(graph.specs)
    trace.sources = list(graph.sources)
    trace.inputs = list(graph.inputs)
    trace.input_values = dict.fromkeys(graph.inputs, Abstract("the graph is being transformed"))
    trace.literals = list(graph.literals)
    trace.literal_keys = [literal_key(value) for value in graph.literals]
    for i, (op, _, attrs) in enumerate(graph.nodes):
        if op is LITERAL:
            value = trace.scalars[i] = graph.literals[attrs[1]]
            trace._literals[attrs[0].dtype.num, literal_key(value)] = i
    return trace


def _are_apart(others: Collection[Any], dtypes: Sequence[int], *numbers: Any) -> bool:
    """Return whether no literals of some dtypes are among others."""
    return not any([(dtype, literal_key(number)) in others for dtype, number in zip(dtypes, numbers, strict=True)])
