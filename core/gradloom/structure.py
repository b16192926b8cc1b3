"""Structure: what graphs that differ in numbers alone have in common, and those numbers."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, final

from gradloom.graph import Graph, literal_key
from gradloom.op import Op
from gradloom.spec import Spec
from gradloom.symbolic import Symbolic, concrete, decide, is_settled


@final
class Structure:
    """What graphs that differ in numbers alone have in common, and the numbers of one of them."""

    def __init__(self) -> None:
        #: The numbers, each once, and where each one stands among them.
        self.numbers: list[Any] = []
        self.places: dict[Any, tuple[int]] = {}
        #: The sources of the nodes, of each graph there is.
        self.sources: list[Any] = []
        self._words: dict[Any, int] = {}
        #: What stands for slices, by identity: the rows that a loop reads share theirs.
        self.slices: dict[int, Any] = {}

    def graph(self, graph: Graph) -> tuple[Any, ...]:
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
        literals = tuple([(type(concrete(v)), self.literal(v)) for v in graph.literals])
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
        return literal_key(number) if decide(is_settled, number) else self._place(number)

    def _place(self, number: Any) -> tuple[int]:
        value = concrete(number)
        key = type(value), value
        place = self.places.get(key)
        if place is None:
            place = self.places[key] = (len(self.numbers),)
            self.numbers.append(number)
        elif number is not self.numbers[place[0]]:
            bool(number == self.numbers[place[0]])  # of symbolic ones it is noted that they are equal
        return place


@final
class WithSymbols:
    """From graphs to graphs with symbolic numbers."""

    def __init__(self, numbers: dict[Any, Symbolic]) -> None:
        self._numbers = numbers
        self.slices: dict[int, Any] = {}

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
        return self._of(number) if number > 1 else number

    def literal(self, number: Any) -> Any:
        """Return a symbolic literal."""
        return number if decide(is_settled, number) else self._of(number)

    def _of(self, number: Any) -> Symbolic:
        value = concrete(number)
        return self._numbers[type(value), value]


def renumbered(op: Op, attrs: tuple[Any, ...], to: Structure | WithSymbols) -> tuple[Any, ...]:
    """Return what stands for the attrs of a node."""
    if not attrs:
        return attrs
    shapes = op.shape_attrs
    if not shapes and len(attrs) == 1 and type(attrs[0]) is tuple and _stays(attrs[0]):  # the rows that a loop reads
        return attrs
    return tuple(
        [
            tuple(map(to.number, a)) if name in shapes else _renumbered(a, to)
            for name, a in zip(op.attr_names, attrs, strict=True)
        ]
    )


def _renumbered(value: Any, to: Structure | WithSymbols) -> Any:
    kind = type(value)
    if kind is tuple:
        if value and type(value[0]) is str and value[0] == "slice":
            found = to.slices.get(id(value))
            if found is None:
                found = to.slices[id(value)] = "slice", to.number(value[1]), to.number(value[2]), value[3]
            return found
        return tuple([v if type(v) is int else _renumbered(v, to) for v in value])
    if kind is Spec:
        return to.spec(value)
    return to.graph(value) if kind is Graph else value


_PLAIN = frozenset({int, str, bool, type(None)})


@lru_cache(maxsize=1024)
def _stays(part: tuple[Any, ...]) -> bool:
    """Return whether a part of attrs is the same for all sizes: it says which row, or which axis."""
    return all([type(entry) in _PLAIN and entry != "slice" for entry in part])
