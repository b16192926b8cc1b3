"""Polymorphic: what is made of a graph, found once for all sizes and literals where these do not matter.

A function from graphs to graphs runs on a graph with symbolic numbers (`gradloom.symbolic`) for lengths of axes, ends
of slices and literals. Of a graph that differs in these alone, and for which all that was asked about them has the same
answer, the result is written down without running the function again: it would be the same.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Any, final

from gradloom.graph import Graph, literal_key
from gradloom.op import Op
from gradloom.recent import Recent
from gradloom.source import same_lines
from gradloom.spec import Spec
from gradloom.symbolic import Guards, Symbolic, is_settled

__all__ = ["Polymorphic"]

#: Nodes of the graphs whose results are remembered, at most.
MAX_NODES = 10_000
#: Results that are remembered of graphs with one structure.
MAX_RESULTS = 4


@final
class Polymorphic:
    """A function from graphs to graphs that is evaluated once for all graphs that differ in numbers alone.

    Parameters
    ----------
    function : callable
        Its result depends on its argument alone.
    most : int
        How many structures are remembered.
    after : int
        How many graphs of a structure come before the first that is evaluated with symbolic numbers, which takes two or
        three times as long, and is of use to those that follow alone.
    """

    def __init__(self, function: Callable[..., Graph], most: int = 32, after: int = 0) -> None:
        self._function = function
        self._after = after
        self._known: Recent[_Known] = Recent(most)

    def __call__(self, graph: Graph, *others: Hashable) -> Graph:
        """Return the function of a graph, and of other things."""
        structure = _Structure()
        key = structure.graph(graph), others
        if structure.size > MAX_NODES:
            return self._function(graph, *others)
        known = self._known.get(key, _Known)
        if known.seen < self._after:
            known.seen += 1
            return self._function(graph, *others)
        for result in list(known.results):
            found = result.graph(structure)
            if found is not None:
                return found
        guards = Guards(structure.numbers)
        symbolic = _Symbolic(dict(zip(structure.places, guards.numbers, strict=True)))
        try:
            result = _Result(guards, structure.sources, self._function(symbolic.graph(graph), *others))
        except Exception:  # with plain numbers it raises again what is the user's affair
            return self._function(graph, *others)
        known.results.append(result)
        return result.graph(structure) or self._function(graph, *others)

    def clear(self) -> None:
        """Forget all results."""
        self._known.clear()


@final
class _Known:
    """What is known of a structure: how many graphs had it before the first result, and the latest results."""

    def __init__(self) -> None:
        self.seen = 0
        self.results: deque[_Result] = deque(maxlen=MAX_RESULTS)


@final
class _Structure:
    """What graphs that differ in numbers alone have in common, and the numbers of one of them."""

    def __init__(self) -> None:
        #: The numbers, each once, and where each one stands among them.
        self.numbers: list[Any] = []
        self.places: dict[Any, tuple[int]] = {}
        #: The sources of the nodes, of each graph there is.
        self.sources: list[Any] = []
        #: How many nodes there are.
        self.size = 0
        self._words: dict[Any, int] = {}

    def graph(self, graph: Graph) -> Any:
        """Return what is equal for graphs that differ in numbers alone."""
        words = self._words
        found: list[Any] = []
        nodes = []
        for (op, inputs, attrs), spec in zip(graph.nodes, graph.specs, strict=True):
            k, n = words.get((op, attrs)), words.get(spec)
            if k is None:
                k = words[op, attrs] = len(words)
                found.append((op, renumbered(op, attrs, self)))
            if n is None:
                n = words[spec] = len(words)
                found.append(self.spec(spec))
            nodes.append((inputs, k, n))
        self.size += len(nodes)
        self.sources.append(graph.sources)
        literals = tuple([(type(v), self.literal(v)) for v in graph.literals])
        return tuple(nodes), tuple(found), literals, graph.inputs, graph.outputs

    def spec(self, spec: Any) -> Any:
        """Return what is equal for specs that differ in lengths alone."""
        if type(spec) is tuple:
            return tuple(map(self.spec, spec))
        return spec.dtype, spec.weak, *map(self.number, spec.shape)

    def number(self, number: Any) -> Any:
        """Return what stands for a length, or an end of a slice."""
        return self._place(number) if number > 1 else number

    def literal(self, number: Any) -> Any:
        """Return what stands for a literal."""
        return literal_key(number) if is_settled(number) else self._place(number)

    def _place(self, number: Any) -> tuple[int]:
        key = type(number), number
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = (len(self.numbers),)
            self.numbers.append(number)
        return place


@final
class _Symbolic:
    """From graphs to graphs with symbolic numbers."""

    def __init__(self, numbers: dict[Any, Symbolic]) -> None:
        self._numbers = numbers

    def graph(self, graph: Graph) -> Graph:
        """Return a graph with symbolic numbers."""
        nodes = tuple([(op, inputs, renumbered(op, attrs, self)) for op, inputs, attrs in graph.nodes])
        specs, literals = tuple(map(self.spec, graph.specs)), tuple(map(self.literal, graph.literals))
        return Graph(nodes, specs, graph.inputs, graph.outputs, literals, graph.sources)

    def spec(self, spec: Any) -> Any:
        """Return a spec with symbolic lengths."""
        if type(spec) is tuple:
            return tuple(map(self.spec, spec))
        return Spec(tuple(map(self.number, spec.shape)), spec.dtype, spec.weak)

    def number(self, number: Any) -> Any:
        """Return a symbolic length, or end of a slice."""
        return self._numbers[type(number), number] if number > 1 else number

    def literal(self, number: Any) -> Any:
        """Return a symbolic literal."""
        return number if is_settled(number) else self._numbers[type(number), number]


def renumbered(op: Op, attrs: tuple[Any, ...], to: _Structure | _Symbolic) -> tuple[Any, ...]:
    """Return what stands for the attrs of a node."""
    return tuple(
        [
            tuple(map(to.number, a)) if name in op.shape_attrs else _renumbered(a, to)
            for name, a in zip(op.attr_names, attrs, strict=True)
        ]
    )


def _renumbered(value: Any, to: _Structure | _Symbolic) -> Any:
    kind = type(value)
    if kind is tuple:
        if value and type(value[0]) is str and value[0] == "slice":
            return "slice", to.number(value[1]), to.number(value[2]), value[3]
        return tuple([_renumbered(v, to) for v in value])
    if kind is Spec:
        return to.spec(value)
    return to.graph(value) if kind is Graph else value


@final
class _Result:
    """The result of a function for a graph with symbolic numbers."""

    def __init__(self, guards: Guards, sources: list[Any], graph: Graph) -> None:
        self._guards = guards
        self._sources = sources
        self._graph = graph
        #: The specs, and the attrs that hold symbolic numbers, each once, and where those stand.
        self._specs = frozenset(graph.specs)
        self._attrs: list[tuple[Any, ...]] = []
        self._varying: list[tuple[int, int]] = []
        known: dict[int, int] = {}
        for i, (_, _, attrs) in enumerate(graph.nodes):
            if id(attrs) not in known and _varies(attrs):
                known[id(attrs)] = len(self._attrs)
                self._attrs.append(attrs)
            if id(attrs) in known:
                self._varying.append((i, known[id(attrs)]))

    def graph(self, structure: _Structure) -> Graph | None:
        """Return the result for the numbers of a structure; None where it is not known to be this one."""
        numbers = self._guards.values(structure.numbers)
        if numbers is None or not all(map(same_lines, structure.sources, self._sources)):
            return None
        old, plain = self._graph, _Plain(numbers).of
        attrs = list(map(plain, self._attrs))
        nodes = list(old.nodes)
        for i, k in self._varying:
            op, inputs, _ = nodes[i]
            nodes[i] = op, inputs, attrs[k]
        known = {spec: plain(spec) for spec in self._specs}
        specs, literals = tuple(map(known.__getitem__, old.specs)), plain(old.literals)
        return Graph(tuple(nodes), specs, old.inputs, old.outputs, literals, old.sources)


def with_values(graph: Graph) -> Graph:
    """Return a graph with the values of its symbolic numbers, of which these take no note."""
    plain: Graph = _Plain(None).of(graph)
    return plain


def _varies(value: Any) -> bool:
    """Return whether there are symbolic numbers in a value."""
    kind = type(value)
    if kind is tuple:
        return any(map(_varies, value))
    if kind is Spec:
        return _varies(value.shape)
    return kind is Symbolic or (kind is Graph and _varies((value.nodes, value.specs, value.literals)))


@final
class _Plain:
    """From symbolic numbers to plain ones, by default their own values."""

    def __init__(self, numbers: list[Any] | None) -> None:
        self._numbers = numbers
        #: By identity, as the same attrs, specs and graphs stand in many places; those stay where they are.
        self._known: dict[int, Any] = {}

    def of(self, value: Any) -> Any:
        """Return a value with plain numbers."""
        kind = type(value)
        if kind is Symbolic:
            return value.value if self._numbers is None else self._numbers[value.place]
        if kind is not tuple and kind is not Spec and kind is not Graph:
            return value
        found = self._known.get(id(value))
        if found is None:
            found = self._known[id(value)] = self._made(value)
        return found

    def _made(self, value: Any) -> Any:
        kind, of = type(value), self.of
        if kind is tuple:
            return tuple(map(of, value))
        if kind is Spec:
            return Spec(of(value.shape), value.dtype, value.weak)
        nodes = tuple([(op, inputs, of(attrs)) for op, inputs, attrs in value.nodes])
        return Graph(nodes, of(value.specs), value.inputs, value.outputs, of(value.literals), value.sources)
