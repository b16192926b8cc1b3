"""Outline: what of a plan does not depend on sizes: what runs, in which order, and what each step frees."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, final

from gradloom.arrangement import folds
from gradloom.graph import INPUT, ITEM, LITERAL, Graph, live_nodes, numbers_in, varies
from gradloom.regions import REGION
from gradloom.step import COPY, Bound, Step


class Call(NamedTuple):
    """A step without its kernel.

    Attributes
    ----------
    kind : int
        Which kernel, one for all nodes alike.
    inputs, out, drop, quiet
        As in `gradloom.step.Step`.
    donates : bool
        Whether the kernel may overwrite the first input.
    """

    kind: int
    inputs: tuple[int, ...]
    out: int
    drop: tuple[int, ...]
    quiet: bool
    donates: bool


@final
class Outline:
    """What of a plan does not depend on sizes.

    Parameters
    ----------
    graph : Graph
    keys : sequence
        Equal for nodes that run by one kernel.
    firm : collection of int
        Nodes that are not computed when the plan is made, though they depend on literals alone.
    """

    def __init__(self, graph: Graph, keys: Sequence[Hashable], firm: Collection[int] = ()) -> None:
        self._live = live_nodes(graph.nodes, graph.outputs)
        #: A node of each kind, and the kind of each node that runs.
        self.first: list[int] = []
        self.kinds: dict[int, int] = {}
        known: dict[Hashable, int] = {}
        for i, (key, live) in enumerate(zip(keys, self._live, strict=True)):
            if live:
                kind = self.kinds[i] = known.setdefault(key, len(known))
                if kind == len(self.first):
                    self.first.append(i)
        #: What is known before any input: literals, and in order the nodes that depend on them alone.
        self.literals: list[int] = []
        self.folded: list[int] = []
        self._order: list[int] = []
        self._find_constants(graph, firm)
        self._owned = _owned_nodes(graph, self.folded)
        #: Ids of outputs, and the copies (source, target) that keep them from sharing memory.
        self.outputs, self.copies = self._own_outputs(graph)
        self.calls = self._calls(graph)
        #: The first call of each kind that runs; and how many calls take no mere item of a tuple.
        self.examples: dict[int, int] = {}
        for call in self.calls:
            self.examples.setdefault(call.kind, call.out)
        #: The kernels that plans of all sizes share, by kind, for each backend and compiler; see `gradloom.lowering`.
        self.common: dict[Hashable, dict[int, Bound]] = {}
        #: For each backend and compiler, who made the kernels of the latest plan; None if that is gone.
        self.latest: dict[Hashable, Callable[[], Any]] = {}
        self._uses: dict[int, frozenset[int]] = {}
        self.working = sum([graph.nodes[call.out][0] is not ITEM for call in self.calls])

    def uses(self, graph: Graph, kind: int) -> frozenset[int]:
        """Return the places of the numbers that the kernel of a kind depends on; ``graph`` has symbolic ones."""
        found = self._uses.get(kind)
        if found is None:
            i = self.first[kind]
            _, inputs, attrs = graph.nodes[i]
            found = self._uses[kind] = frozenset(numbers_in((attrs, graph.specs[i], *[graph.specs[j] for j in inputs])))
        return found

    def steps(self, kernels: Mapping[int, tuple[Any, Mapping[str, Any]]]) -> Iterator[Step]:
        """Yield the steps in order, given the kernels by kind, with their attrs; at `COPY` what copies outputs."""
        quiet = False
        for kind, inputs, out, drop, quiet, donates in self.calls:
            kernel, attrs = kernels[kind]
            yield Step(kernel, inputs, {**attrs, "donate": True} if donates else attrs, out, drop, quiet)
        for copied, target in self.copies:
            yield Step(kernels[COPY][0], (copied,), {}, target, (), quiet)

    def _find_constants(self, graph: Graph, firm: Collection[int]) -> None:
        constants: set[int] = set()
        for i, (op, _, _) in enumerate(graph.nodes):
            if not self._live[i] or op is INPUT:
                continue
            if op is LITERAL:
                self.literals.append(i)
                constants.add(i)
            elif i not in firm and folds(graph, i, constants):
                self.folded.append(i)
                constants.add(i)
            else:
                self._order.append(i)

    def _own_outputs(self, graph: Graph) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        outputs: dict[int, None] = {}
        copies: list[tuple[int, int]] = []
        for i in graph.outputs:
            if i in outputs or not self._owned[i]:
                copies.append((i, len(graph.nodes) + len(copies)))
                i = copies[-1][1]
            outputs[i] = None
        return tuple(outputs), copies

    def _calls(self, graph: Graph) -> list[Call]:
        """Return the steps in order."""
        nodes, sources, owned = graph.nodes, graph.sources, self._owned
        last = self._last_uses(graph)
        quiet = False
        calls = []
        for i in self._order:
            op, inputs, _ = nodes[i]
            drop = tuple([j for j in set(inputs) if last.get(j) == i])
            donates = op.donates and inputs[0] in drop and owned[inputs[0]] and inputs[0] not in inputs[1:]
            if op is not REGION and op is not ITEM:  # regions never warn, so they go with the step before
                source = sources[i]
                quiet = source is not None and source[2] >= 0
            calls.append(Call(self.kinds[i], inputs, i, drop, quiet, bool(donates)))
        return calls

    def _last_uses(self, graph: Graph) -> dict[int, int]:
        """Return, for each value that can be freed, the node that reads it last."""
        last: dict[int, int] = {}
        for i in self._order:
            for j in graph.nodes[i][1]:
                last[j] = i
        for j in (*self.outputs, *self.literals, *self.folded, *[copied for copied, _ in self.copies]):
            last.pop(j, None)
        return last


def outline_of(graph: Graph, places: Sequence[str | None] | None, arranged: bool) -> Outline:
    """Return the outline of a graph; graphs of one pattern have one.

    Parameters
    ----------
    graph : Graph
    places : sequence of str, optional
        Where each node runs, if not all run at home.
    arranged : bool
        Whether the graph comes from `arrange`, where it was asked of its sizes already what is folded.
    """
    pattern = graph.pattern
    if pattern is None or places is not None or not arranged:
        return Outline(graph, _keys(graph, places, symbolic=False))
    found: Outline | None = pattern.found.get(Outline)
    if found is None:
        found = pattern.found.setdefault(Outline, Outline(graph, _keys(pattern.graph, None, symbolic=True)))
    return found


def _keys(graph: Graph, places: Sequence[str | None] | None, symbolic: bool) -> list[Hashable]:
    """Return what nodes of one kernel have in common; attrs with symbolic numbers are not compared."""
    specs = graph.specs
    known: dict[int, Hashable] = {}
    keys: list[Hashable] = []
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        own = known.get(id(attrs))
        if own is None:
            own = known[id(attrs)] = id(attrs) if symbolic and varies(attrs) else attrs
        keys.append((op, own, None if places is None else places[i], tuple([id(specs[j]) for j in inputs])))
    return keys


def _owned_nodes(graph: Graph, folded: Sequence[int]) -> bytearray:
    """Mark the nodes whose memory no input, constant or other node shares."""
    owned = bytearray(len(graph.nodes))
    for i, (op, inputs, _) in enumerate(graph.nodes):
        if op.view and inputs:
            owned[inputs[0]] = 0
        elif op is not INPUT and op is not LITERAL:
            owned[i] = 1
    for i in folded:
        owned[i] = 0
    return owned
