"""Polymorphic: what is made of a graph, found once for all sizes and literals where these do not matter.

A function from graphs to graphs runs on a graph with symbolic numbers (`gradloom.symbolic`) for lengths of axes, ends
of slices and literals. Of a graph that differs in these alone, and for which all that was asked about them has the same
answer, the result is written down without running the function again: it would be the same. It knows its pattern,
and `Shared` functions, which make other data of graphs, are evaluated once for all graphs of a pattern.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Any, Generic, NamedTuple, TypeVar, final

from gradloom import ahead
from gradloom.graph import Graph, RawNode, varies
from gradloom.pattern import Pattern
from gradloom.recent import Recent
from gradloom.recipe import Plain, Recipe, alike
from gradloom.source import Lines, moved_lines, same_lines
from gradloom.structure import Structure, WithSymbols
from gradloom.symbolic import Guards, Symbolic

__all__ = ["Known", "Polymorphic", "Result", "Shared", "node_count"]

T = TypeVar("T")

#: Nodes of the graphs whose results are remembered, at most.
MAX_NODES = 10_000
#: Nodes of the graphs whose results are found before another size has come, or waited for when it has, at most.
MAX_FORESEEN = 2_000
#: Results that are remembered of graphs with one structure: sizes from few to many samples need about eight.
MAX_RESULTS = 12


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
        How many graphs of a structure come before the first that is evaluated with symbolic numbers, which takes up to
        three times as long, and is of use to those that follow alone.
    use : callable, optional
        What a thread that works ahead does with a result, so that all that others need of it is found.
    """

    def __init__(
        self,
        function: Callable[..., Graph],
        most: int = 32,
        after: int = 0,
        use: Callable[..., object] = lambda graph, *others: None,
    ) -> None:
        self._function = function
        self._after = after
        self._use = use
        self._most = most
        self._known: Recent[Known] = Recent(most)

    def __call__(self, graph: Graph, *others: Hashable) -> Graph:
        """Return the function of a graph, and of other things."""
        if _too_large(graph, MAX_NODES):
            return self._function(graph, *others)
        seen = self._look_up(graph, others)
        known = seen.known
        found = known.of(seen, partial(self._function, graph, *others))
        if found is None and known.seen >= self._after and known.pays():
            found = self._found_now(seen, graph, *others)
        known.seen += 1
        return self._function(graph, *others) if found is None else found

    def foresee(self, graph: Graph, *others: Hashable) -> None:
        """Let what other sizes will need be found meanwhile, as graphs like this one are likely to come."""
        if not _too_large(graph, MAX_FORESEEN):
            self._begin(self._look_up(graph, others).known, graph, *others)

    def _found_now(self, seen: _Seen, graph: Graph, *others: Hashable) -> Graph | None:
        """Return what others will need too, if that does not take long."""
        known = seen.known
        if _too_large(graph, MAX_FORESEEN):
            self._begin(known, graph, *others)
            return None
        work, known.work = known.work, None
        anew = partial(self._function, graph, *others)
        found = known.of(seen, anew) if work is not None and ahead.finish(work) else None
        return self._recorded(seen, graph, *others) if found is None else found

    def _begin(self, known: Known, graph: Graph, *others: Hashable) -> None:
        known.work = ahead.add(lambda: self._find(graph, *others))

    def _find(self, graph: Graph, *others: Hashable) -> None:
        """Find what other sizes will need, if it is not known and likely to be found again."""
        seen = self._look_up(graph, others)
        if seen.known.pays() and seen.known.of(seen, partial(self._function, graph, *others)) is None:
            found = self._recorded(seen, graph, *others)
            if found is not None:
                self._use(found, *others)

    def _look_up(self, graph: Graph, others: tuple[Hashable, ...]) -> _Seen:
        pattern = graph.pattern
        if pattern is None:
            return self._look_at(graph, others)
        # The memory itself is in the key: what was forgotten is not found here either.
        key = self._known, others
        seen: _Seen = pattern.found.get(key) or pattern.found.setdefault(key, self._look_at(pattern.graph, others))
        if seen.has_others:
            return self._look_at(graph, others)
        numbers = [graph.numbers[n.place] if type(n) is Symbolic else n for n in seen.numbers]
        return seen._replace(numbers=numbers)

    def _look_at(self, graph: Graph, others: tuple[Hashable, ...]) -> _Seen:
        structure = Structure()
        words = structure.graph(graph)
        known = self._known.get((words, others), Known)
        return _Seen(known, graph, structure.places, structure.numbers, structure.sources, varies(words))

    def _recorded(self, seen: _Seen, graph: Graph, *others: Hashable) -> Graph | None:
        """Evaluate the function with symbolic numbers, and remember the result; None where that fails."""
        guards = Guards(seen.numbers)
        symbolic = WithSymbols(dict(zip(seen.places, guards.numbers, strict=True)))
        try:
            result = Result(guards, seen.sources, self._function(symbolic.graph(seen.whole), *others))
        except Exception:  # with plain numbers it raises again what is the user's affair
            seen.known.idle += 1
            return None
        seen.known.add(result)
        return result.graph(seen.numbers, seen.sources, partial(self._function, graph, *others))

    def clear(self) -> None:
        """Forget all results."""
        self._known = Recent(self._most)


def _too_large(graph: Graph, most: int) -> bool:
    """Return whether a graph has too many nodes, with those of the graphs in it, for its result to be remembered."""
    pattern = graph.pattern
    if pattern is None:
        return node_count(graph) > most
    size: int = pattern.found.get(node_count) or pattern.found.setdefault(node_count, node_count(pattern.graph))
    return size > most


def node_count(graph: Graph) -> int:
    """Return how many nodes a graph has, with those of the graphs in it; beyond `MAX_NODES` they are not counted on."""
    size = len(graph.nodes)
    held = [graph]
    while held and size <= MAX_NODES:
        held = [a for own in held for _, _, attrs in own.nodes for a in attrs if type(a) is Graph]
        size += sum(map(len, held))
    return size


class _Seen(NamedTuple):
    """A graph among those of its structure, or the pattern of some.

    Attributes
    ----------
    known : Known
        What is known of that.
    whole : Graph
        It, with its numbers or with symbolic ones.
    places : dict
        Where each number stands among all.
    numbers : list
        Those of the graph.
    sources : list
        Of the nodes, of each graph there is.
    has_others : bool
        Whether it has symbolic numbers where none are looked for.
    """

    known: Known
    whole: Graph
    places: dict[Any, tuple[int]]
    numbers: list[Any]
    sources: list[Any]
    has_others: bool


@final
class Known:
    """What is known of a structure or pattern: how many graphs there were, and the latest results."""

    def __init__(self) -> None:
        self.seen = 0
        #: What finds a result ahead.
        self.work: ahead.Work | None = None
        self.results: deque[Any] = deque(maxlen=MAX_RESULTS)
        #: Evaluations in vain: results that nobody has found since they were added, and failures.
        self.idle = 0

    def of(self, seen: _Seen, anew: Callable[[], Graph]) -> Graph | None:
        """Return the result for a graph, if it is known; ``anew`` computes it."""
        found: Graph | None = self.find(lambda result: result.graph(seen.numbers, seen.sources, anew))
        return found

    def find(self, evaluate: Callable[[Any], Any]) -> Any:
        """Return the first result that can be evaluated; it will be tried first."""
        for result in list(self.results):
            found = evaluate(result)
            if found is not None:
                self.idle = 0
                if result is not self.results[0]:
                    with suppress(ValueError):  # another thread may have dropped it
                        self.results.remove(result)
                        self.results.appendleft(result)
                return found
        return None

    def pays(self) -> bool:
        """Return whether another result is likely to be found again: not where each graph had needed its own."""
        return self.idle < MAX_RESULTS

    def add(self, result: Any) -> None:
        """Remember a result, for the one that was found longest ago."""
        self.idle += 1
        if len(self.results) == MAX_RESULTS:
            self.results.pop()
        self.results.appendleft(result)


@final
class Result:
    """The result of a function for a graph with symbolic numbers."""

    def __init__(self, guards: Guards, sources: list[Any], graph: Graph) -> None:
        self._guards = guards
        self._sources = sources
        #: The latest ones on the same lines: offsets vary a little, and to tell lines takes long.
        self._latest = sources
        self._graph = graph
        self._pattern = Pattern(graph)
        held = {id(a): a for _, _, attrs in graph.nodes for a in attrs if type(a) is Graph}
        #: The patterns of the graphs in it that differ with the numbers.
        patterns = {key: Pattern(own) for key, own in held.items() if varies(own)}
        for own in [own for key, own in held.items() if key not in patterns]:
            own.pattern = own.pattern or Pattern(own)  # it stays as it is
        #: Whether there are lines in those graphs: they stay as they are.
        self._has_inner_lines = any([own.sources.count(None) < len(own) for own in held.values()])
        distinct = {id(own): own for _, _, own in graph.nodes}
        varying = {key: own for key, own in distinct.items() if varies(own)}
        place = {key: n for n, key in enumerate(varying)}
        #: Where the attrs of a node stand among those that vary.
        self._varying = {i: place[id(own)] for i, (_, _, own) in enumerate(graph.nodes) if id(own) in place}
        value = tuple(varying.values()), graph.specs, graph.literals
        self._recipe = Recipe(value, len(guards.numbers), patterns)

    def graph(self, given: Sequence[Any], sources: list[Any], anew: Callable[[], Graph]) -> Graph | None:
        """Return the result for other numbers; None where it is not known to be this one.

        ``sources`` are those of the nodes that it follows from, in each graph there is. ``anew`` computes it, for the
        lines that its own nodes were written on, which hardly anybody asks for.
        """
        numbers = self._guards.values(given)
        if numbers is None or (self._has_inner_lines and self._written_at(sources) is None):
            return None
        attrs, specs, literals = self._recipe.of(numbers)
        nodes, varying = self._graph.nodes, self._varying

        def read(i: int) -> RawNode:
            k = varying.get(i)
            return nodes[i] if k is None else (*nodes[i][:2], attrs[k])

        found = Graph.unwritten(self._graph, specs, lambda: (tuple(map(read, range(len(nodes)))), literals), read)
        found.literals = literals
        found.sources = Lines(lambda: self._written_at(sources) or anew().sources)
        return alike(found, self._pattern, numbers)

    def _written_at(self, sources: list[Any]) -> Any:
        """Return the sources of the result for graphs with other ones; None where they do not tell."""
        if sources == self._latest or all(map(same_lines, sources, self._sources)):
            self._latest = sources
            return self._graph.sources
        lines = None if self._has_inner_lines else moved_lines(chain(*self._sources), chain(*sources))
        if lines is None:
            return None
        return tuple([None if s is None else (*lines[id(s[0]), s[1]], s[2]) for s in self._graph.sources])


def with_values(graph: Graph) -> Graph:
    """Return a graph with the values of its symbolic numbers, of which these take no note."""
    plain: Graph = graph if _too_large(graph, MAX_NODES) else Plain(None).of(graph)  # those have none
    return plain


@final
class Shared(Generic[T]):
    """A function from graphs to data that is evaluated once for all graphs of a pattern.

    Parameters
    ----------
    function : callable
        Its result depends on its arguments alone: plain data, tuples of them, numbers. It must not be None.
    """

    def __init__(self, function: Callable[..., T]) -> None:
        self._function = function

    def __call__(self, graph: Graph, *others: int) -> T:
        """Return the function of a graph, and of other numbers."""
        pattern = graph.pattern
        if pattern is None:
            return self._function(graph, *others)
        numbers = [*graph.numbers, *others] if others else graph.numbers
        known: Known = pattern.found.get(self) or pattern.found.setdefault(self, Known())
        found: T | None = known.find(lambda result: result.of(numbers))
        if found is not None:
            return found
        if known.pays():
            guards = Guards(numbers)
            try:
                own = guards.numbers[len(graph.numbers) : len(numbers)]
                data = _Data(guards, self._function(Plain(guards.numbers).of(pattern.graph), *own))
            except Exception:  # with plain numbers it raises again what is the user's affair
                return self._function(graph, *others)
            known.add(data)
            found = data.of(numbers)
        return self._function(graph, *others) if found is None else found


@final
class _Data:
    """What a function made of a graph with symbolic numbers."""

    def __init__(self, guards: Guards, data: Any) -> None:
        self._guards = guards
        self._recipe = Recipe(data, len(guards.numbers))

    def of(self, numbers: Sequence[Any]) -> Any:
        """Return it for other numbers; None where it is not known to be this one."""
        values = self._guards.values(numbers)
        return None if values is None else self._recipe.of(values)
