"""Repeats: what a rule appended for one node, appended again for the nodes like it.

A derivative rule sees the specs of its arguments, the attrs and the values of literals, and nothing else. Where
those are equal it appends the same nodes, on other arguments: so the steps of an unrolled loop are differentiated once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, final

from gradloom.graph import LITERAL
from gradloom.op import Op
from gradloom.trace import Handle, Trace


class _Appended(NamedTuple):
    """Nodes, their inputs by position among the arguments and the nodes before, and which of those is the result.

    A literal, of which a trace has one node, stands as ``~id``.
    """

    nodes: list[tuple[Op, list[int], tuple[Any, ...], Any]]
    result: int
    spec: Any


@final
class Repeats:
    """What rules appended to a trace so far."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        #: False for what was needed once, None for what cannot be repeated.
        self._known: dict[Any, _Appended | Literal[False] | None] = {}

    def tensor(self, key: Any, arguments: tuple[int, ...], rule: Callable[[], Any]) -> Any:
        """Return the tensor of ``rule()``, without calling it where two calls have shown what it appends.

        Parameters
        ----------
        key : hashable
            What the rule depends on, besides the specs of its arguments and which of them are literals.
        arguments : tuple of int
            The nodes that the rule takes.
        rule : callable
        """
        trace = self._trace
        specs, scalars = trace.specs, trace.scalars
        key = key, *[j if j in scalars else specs[j] for j in arguments]
        found = self._known.get(key, False)
        if found:
            return self._again(found, arguments)
        start, looked = len(trace.nodes), (len(trace.inputs), trace.lookups)
        result = rule()
        # Most rules are needed once. Of an argument that it has twice, nodes do not tell which one they take.
        if key not in self._known:
            self._known[key] = False
        elif found is False and len(set(arguments)) == len(arguments):
            # What captures arrays, or looks where a value comes from, is called each time.
            same = looked == (len(trace.inputs), trace.lookups)
            self._known[key] = self._appended(start, arguments, result) if same else None
        return result

    def _appended(self, start: int, arguments: tuple[int, ...], result: Any) -> _Appended | None:
        """Return what was appended; None if it takes more than the arguments and literals."""
        trace = self._trace
        places = {j: k for k, j in enumerate(arguments)}
        nodes = []
        for i in range(start, len(trace.nodes)):
            op, inputs, attrs = trace.nodes[i]
            if op is LITERAL:
                continue
            own = [places.get(j, ~j) for j in inputs]
            if not all([k >= 0 or ~k in trace.scalars for k in own]):
                return None
            nodes.append((op, own, attrs, trace.specs[i]))
            places[i] = len(arguments) + len(nodes) - 1
        if not isinstance(result, Handle):
            return None
        k = places.get(result._index, ~result._index)
        return _Appended(nodes, k, result.spec) if k >= 0 or ~k in trace.scalars else None

    def _again(self, appended: _Appended, arguments: tuple[int, ...]) -> Any:
        trace = self._trace
        nodes, specs, sources, origin = trace.nodes, trace.specs, trace.sources, trace.origin
        ids = list(arguments)
        for op, places, attrs, spec in appended.nodes:
            ids.append(len(nodes))
            nodes.append((op, tuple([ids[k] if k >= 0 else ~k for k in places]), attrs))
            specs.append(spec)
            sources.append(origin)
        k = appended.result
        return trace.handle(trace, ids[k] if k >= 0 else ~k, appended.spec)
