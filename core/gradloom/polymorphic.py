"""Polymorphic: what is made of a graph, found once for all sizes and literals where these do not matter.

A function from graphs to graphs runs on a graph with symbolic numbers (`gradloom.symbolic`) for lengths of axes, ends
of slices and literals. Of a graph that differs in these alone, and for which all that was asked about them has the same
answer, the result is written down without running the function again: it would be the same. It knows its pattern,
and `Shared` functions, which make other data of graphs, are evaluated once for all graphs of a pattern.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from types import MappingProxyType
from typing import Any, Generic, TypeVar, final

from gradloom import ahead
from gradloom.graph import Graph, literal_key, varies
from gradloom.op import Op
from gradloom.pattern import Pattern
from gradloom.recent import Recent
from gradloom.source import moved_lines, same_lines
from gradloom.spec import Spec
from gradloom.symbolic import Guards, Symbolic, is_settled

__all__ = ["Polymorphic", "Shared"]

T = TypeVar("T")

#: Nodes of the graphs whose results are remembered, at most.
MAX_NODES = 10_000
#: Nodes of the graphs whose results are found before another size has come, at most.
MAX_FORESEEN = 2_000
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
        if _too_large(graph, MAX_NODES):
            return self._function(graph, *others)
        structure = _Structure()
        known = self._known.get((structure.graph(graph), others), _Known)
        found = known.of(structure)
        if found is not None:
            return found
        if known.seen < self._after or not known.pays():
            known.seen += 1
            return self._function(graph, *others)
        return self._recorded(known, structure, graph, *others)

    def foresee(self, graph: Graph, *others: Hashable) -> Callable[[], Graph] | None:
        """Return what finds the result that other sizes will need; None where it was returned or found before.

        It returns the result for this graph, which knows its pattern.
        """
        if _too_large(graph, MAX_FORESEEN):
            return None
        structure = _Structure()
        known = self._known.get((structure.graph(graph), others), _Known)
        if known.foreseen or known.results:
            return None
        known.foreseen = True
        return lambda: known.of(structure) or self._recorded(known, structure, graph, *others)

    def _recorded(self, known: _Known, structure: _Structure, graph: Graph, *others: Hashable) -> Graph:
        """Evaluate the function with symbolic numbers, and remember the result."""
        guards = Guards(structure.numbers)
        symbolic = _Symbolic(dict(zip(structure.places, guards.numbers, strict=True)))
        try:
            result = _Result(guards, structure.sources, self._function(symbolic.graph(graph), *others))
        except Exception:  # with plain numbers it raises again what is the user's affair
            return self._function(graph, *others)
        known.add(result)
        return result.graph(structure) or self._function(graph, *others)

    def clear(self) -> None:
        """Forget all results."""
        self._known.clear()


def _too_large(graph: Graph, most: int) -> bool:
    """Return whether a graph has too many nodes, with those of the graphs in it, for its result to be remembered."""
    size = len(graph.nodes)
    held = [graph]
    while held and size <= most:
        held = [a for own in held for _, _, attrs in own.nodes for a in attrs if type(a) is Graph]
        size += sum(map(len, held))
    return size > most


@final
class _Known:
    """What is known of a structure or pattern: how many graphs had no result of it, and the latest results."""

    def __init__(self) -> None:
        self.seen = 0
        self.results: deque[Any] = deque(maxlen=MAX_RESULTS)
        #: Results that nobody has found since they were added.
        self._idle = 0
        #: Whether somebody was to find a result ahead.
        self.foreseen = False

    def of(self, structure: _Structure) -> Graph | None:
        """Return the result for a graph of the structure, if it is known."""
        found: Graph | None = self.find(lambda result: result.graph(structure))
        return found

    def find(self, evaluate: Callable[[Any], Any]) -> Any:
        """Return the first result that can be evaluated; it will be tried first."""
        for result in list(self.results):
            found = evaluate(result)
            if found is not None:
                self._idle = 0
                if result is not self.results[0]:
                    with suppress(ValueError):  # another thread may have dropped it
                        self.results.remove(result)
                        self.results.appendleft(result)
                return found
        return None

    def pays(self) -> bool:
        """Return whether another result is likely to be found again: not where each graph had needed its own."""
        return self._idle < MAX_RESULTS

    def add(self, result: Any) -> None:
        """Remember a result, for the one that was found longest ago."""
        self._idle += 1
        if len(self.results) == MAX_RESULTS:
            self.results.pop()
        self.results.appendleft(result)


@final
class _Structure:
    """What graphs that differ in numbers alone have in common, and the numbers of one of them."""

    def __init__(self) -> None:
        #: The numbers, each once, and where each one stands among them.
        self.numbers: list[Any] = []
        self.places: dict[Any, tuple[int]] = {}
        #: The sources of the nodes, of each graph there is.
        self.sources: list[Any] = []
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
    if not attrs:
        return attrs
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
            if id(attrs) not in known and varies(attrs):
                known[id(attrs)] = len(self._attrs)
                self._attrs.append(attrs)
            if id(attrs) in known:
                self._varying.append((i, known[id(attrs)]))
        self._pattern = Pattern(graph)
        #: The patterns of the graphs among the attrs.
        self._held = {id(a): Pattern(a) for attrs in self._attrs for a in attrs if type(a) is Graph}
        for held in [a for _, _, attrs in graph.nodes for a in attrs if type(a) is Graph and id(a) not in self._held]:
            held.pattern = held.pattern or Pattern(held)  # it stays as it is

    def graph(self, structure: _Structure) -> Graph | None:
        """Return the result for the numbers of a structure; None where it is not known to be this one."""
        numbers = self._guards.values(structure.numbers)
        sources = None if numbers is None else self._written_at(structure.sources)
        if numbers is None or sources is None:
            return None
        old, plain = self._graph, _Plain(numbers, self._held).of
        attrs = list(map(plain, self._attrs))
        nodes = list(old.nodes)
        for i, k in self._varying:
            op, inputs, _ = nodes[i]
            nodes[i] = op, inputs, attrs[k]
        known = {spec: plain(spec) for spec in self._specs}
        specs, literals = tuple(map(known.__getitem__, old.specs)), plain(old.literals)
        found = Graph(tuple(nodes), specs, old.inputs, old.outputs, literals, sources)
        return _alike(found, self._pattern, numbers)

    def _written_at(self, sources: list[Any]) -> Any:
        """Return the sources of the result for graphs with other ones; None where they do not tell."""
        if all(map(same_lines, sources, self._sources)):
            return self._graph.sources
        held = [a for _, _, attrs in self._graph.nodes for a in attrs if type(a) is Graph]
        lines = moved_lines(chain(*self._sources), chain(*sources))
        if lines is None or any([own.sources.count(None) < len(own) for own in held]):
            return None
        return tuple([None if s is None else (*lines[id(s[0]), s[1]], s[2]) for s in self._graph.sources])


def _alike(graph: Graph, pattern: Pattern | None, numbers: Sequence[Any]) -> Graph:
    """Return a graph that knows its pattern."""
    if pattern is not None:
        graph.pattern, graph.numbers = pattern, numbers
    return graph


def with_values(graph: Graph) -> Graph:
    """Return a graph with the values of its symbolic numbers, of which these take no note."""
    plain: Graph = graph if _too_large(graph, MAX_NODES) else _Plain(None).of(graph)  # those have none
    return plain


@final
class _Plain:
    """From symbolic numbers to others, by default their own values; the graphs in it may have patterns, by identity."""

    def __init__(self, numbers: Sequence[Any] | None, patterns: Mapping[int, Pattern] = MappingProxyType({})) -> None:
        self._numbers = numbers
        self._patterns = patterns
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
        pattern = self._patterns.get(id(value))

        def write() -> tuple[Any, Any]:
            return tuple([(op, inputs, of(attrs)) for op, inputs, attrs in value.nodes]), of(value.literals)

        if pattern is not None:  # who knows the pattern need not look
            return _alike(Graph.unwritten(value, of(value.specs), write), pattern, self._numbers or ())
        nodes, literals = write()
        return Graph(nodes, of(value.specs), value.inputs, value.outputs, literals, value.sources)


@final
class Shared(Generic[T]):
    """A function from graphs to data that is evaluated once for all graphs of a pattern.

    Parameters
    ----------
    function : callable
        Its result depends on its argument alone: plain data, tuples of them, numbers. It must not be None.
    at_once : bool
        Whether the first graph of a pattern is evaluated with symbolic numbers already.
    """

    def __init__(self, function: Callable[[Graph], T], at_once: bool = False) -> None:
        self._function = function
        self._at_once = at_once

    def __call__(self, graph: Graph) -> T:
        """Return the function of a graph."""
        pattern, numbers = graph.pattern, graph.numbers
        if pattern is None:
            return self._function(graph)
        known: _Known = pattern.found.get(self) or pattern.found.setdefault(self, _Known())
        found: T | None = known.find(lambda result: result.of(numbers))
        if found is not None:
            return found
        # With symbolic numbers it takes several times as long, and there may be no third graph.
        if (known.seen or self._at_once or ahead.is_here()) and known.pays():
            guards = Guards(numbers)
            try:
                data = _Data(guards, self._function(_Plain(guards.numbers).of(pattern.graph)))
            except Exception:  # with plain numbers it raises again what is the user's affair
                return self._function(graph)
            known.add(data)
            found = data.of(numbers)
        known.seen += 1
        return self._function(graph) if found is None else found


@final
class _Data:
    """What a function made of a graph with symbolic numbers."""

    def __init__(self, guards: Guards, data: Any) -> None:
        self._guards = guards
        self._data = data

    def of(self, numbers: Sequence[Any]) -> Any:
        """Return it for other numbers; None where it is not known to be this one."""
        values = self._guards.values(numbers)
        return None if values is None else _Plain(values).of(self._data)
