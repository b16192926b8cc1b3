"""Recipe: how a value with symbolic numbers is written down for other numbers; found once, quick ever after."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from types import MappingProxyType
from typing import Any, final

from gradloom.graph import Graph, varies
from gradloom.pattern import Pattern
from gradloom.spec import Spec, recent_spec
from gradloom.symbolic import Symbolic

#: Makes a value of those before it.
_Make = Callable[[list[Any]], Any]


@final
class Plain:
    """From symbolic numbers to others, by default their own values."""

    def __init__(self, numbers: Sequence[Any] | None) -> None:
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
        nodes, literals = self.content(value)
        return Graph(nodes, of(value.specs), value.inputs, value.outputs, literals, value.sources)

    def content(self, graph: Graph) -> tuple[Any, Any]:
        """Return nodes and literals of a graph."""
        return tuple([(op, inputs, self.of(attrs)) for op, inputs, attrs in graph.nodes]), self.of(graph.literals)


@final
class Recipe:
    """How a value is made of numbers: step by step, each distinct part of it once.

    Parameters
    ----------
    value : object
        Tuples, specs and graphs with symbolic numbers in them. What holds none stays as it is.
    count : int
        How many symbolic numbers there are.
    patterns : mapping
        Those of the graphs in it that have one, by identity.

    Examples
    --------
    >>> from gradloom.recipe import Recipe
    >>> from gradloom.symbolic import Guards
    >>> m, n = Guards([3, 4]).numbers
    >>> Recipe(("slice", m, (n, m), 1), 2).of([5, 6])
    ('slice', 5, (6, 5), 1)
    """

    def __init__(self, value: Any, count: int, patterns: Mapping[int, Pattern] = MappingProxyType({})) -> None:
        self._value = value  # what is known by its identity stays
        self._patterns = patterns
        self._count = count
        #: Behind the numbers stands their list, for graphs, then what does not vary; behind that, what is made.
        self._constants: list[Any] = []
        self._makes: list[_Make] = []
        self._varies: dict[int, bool] = {}
        self._places: dict[int, int] = {}
        self._find_constants(value)
        self._root = self._place(value)

    def of(self, numbers: Sequence[Any]) -> Any:
        """Return the value for some numbers."""
        values = [*numbers[: self._count], numbers, *self._constants]
        append = values.append
        for make in self._makes:
            append(make(values))
        return values[self._root]

    def _find_constants(self, value: Any) -> None:
        if type(value) is Symbolic or id(value) in self._varies:
            return
        found = self._varies[id(value)] = varies(value)
        if not found:
            self._places[id(value)] = self._count + 1 + len(self._constants)
            self._constants.append(value)
        elif type(value) is tuple:
            for part in value:
                self._find_constants(part)
        else:
            self._find_constants(value.shape if type(value) is Spec else value.specs)

    def _place(self, value: Any) -> int:
        """Return where a value stands among all, made where it varies."""
        if type(value) is Symbolic:
            return value.place
        place = self._places.get(id(value))
        if place is None:
            make = self._make(value)
            place = self._places[id(value)] = self._count + 1 + len(self._constants) + len(self._makes)
            self._makes.append(make)
        return place

    def _make(self, value: Any) -> _Make:
        if type(value) is tuple:
            places = list(map(self._place, value))
            if len(places) == 1:
                return lambda values, place=places[0]: (values[place],)  # type: ignore[misc]
            return itemgetter(*places)
        if type(value) is Spec:
            return self._make_spec(self._place(value.shape), value)
        return self._make_graph(value)

    @staticmethod
    def _make_spec(place: int, spec: Spec) -> _Make:
        dtype = spec.dtype
        if spec.weak:
            return lambda values: Spec(values[place], dtype, True)
        return lambda values: recent_spec(values[place], dtype)

    def _make_graph(self, graph: Graph) -> _Make:
        """Return what makes a graph; one that has a pattern is written when somebody looks at it, which few need."""
        numbers = self._count
        pattern = self._patterns.get(id(graph))
        if pattern is None:
            return lambda values: Plain(values[numbers]).of(graph)
        specs = self._place(graph.specs)

        def make(values: list[Any]) -> Graph:
            own = values[numbers]
            return alike(Graph.unwritten(graph, values[specs], lambda: Plain(own).content(graph)), pattern, own)

        return make


def alike(graph: Graph, pattern: Pattern, numbers: Sequence[Any]) -> Graph:
    """Return a graph that knows its pattern."""
    graph.pattern, graph.numbers = pattern, numbers
    return graph
