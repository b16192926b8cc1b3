"""Builder: a graph under construction in which equal nodes are one, and rules replace nodes.

A rule is a named function ``rule(g, op, args, attrs, spec, k)`` for a node that is about to be added
to the builder ``g``: an op on nodes ``args``, with attrs and an output spec. It returns None where it
does not hold, else what stands for the node: the id of a node there is, or ``(op, args, attrs)`` of
a node to add instead. It may read the definitions ``g.nodes[j]`` and specs ``g.specs[j]`` of any node
below, and add nodes with ``g.emit``. ``k`` is the position of the argument it was chosen by.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, compress, islice
from typing import Any, NamedTuple

import numpy as np

from gradloom.graph import INPUT, LITERAL, Graph, RawNode, literal_key, live_nodes
from gradloom.op import Op, ops
from gradloom.source import RawSource
from gradloom.spec import recent_spec
from gradloom.symbolic import compute, settled

#: ``rule(g, op, args, attrs, spec, k)``.
RuleFunction = Callable[..., "int | RawNode | None"]

#: What stands for a node: ``replacement(g, new)``, given the new ids of the nodes before it.
Replacement = Callable[["Builder", list[int]], int]


class Rule(NamedTuple):
    """A rule, and the nodes it is tried on.

    Parameters
    ----------
    apply : callable
        The rule; its name is the rule's name.
    op : str
        Op of the nodes.
    argument : str, optional
        Op of one of the arguments; without it the rule is tried on every node of the op.
    exact : bool
        Whether the bits stay; if not, the result keeps within the stated bound of the op.
    """

    apply: RuleFunction
    op: str
    argument: str | None = None
    exact: bool = True


#: For an op: rules to try on every node, and rules by the op of an argument.
RuleTable = Mapping[Op, tuple[Sequence[Rule], Mapping[Op, Sequence[Rule]]]]


def rule_table(rules: Iterable[Rule]) -> RuleTable:
    """Return rules by the ops they are tried on."""
    table: dict[Op, tuple[list[Rule], dict[Op, list[Rule]]]] = {}
    for rule in rules:
        op = ops.get(rule.op)
        if op is None:
            continue
        always, chosen = table.get(op) or table.setdefault(op, ([], {}))
        if rule.argument is None:
            always.append(rule)
        else:
            chosen.setdefault(ops[rule.argument], []).append(rule)
    return table


#: Ops whose arguments may change places.
_COMMUTATIVE = frozenset("add multiply annihilating_multiply equal not_equal logical_and logical_or".split())


class Builder:
    """A graph under construction.

    Parameters
    ----------
    table : mapping
        Rules, as `rule_table` gives them.
    """

    def __init__(self, table: RuleTable) -> None:
        self.table = table
        self.nodes: list[RawNode] = []
        self.specs: list[Any] = []
        #: Which node of the old graph each one was made for.
        self.origins: list[int] = []
        #: How many nodes and outputs of the old graph use what each one stands for.
        self.uses: list[int] = []
        self.literals: list[Any] = []
        #: The old node that is being replaced, and the sources of all old nodes.
        self.origin = -1
        self.sources: Sequence[RawSource | None] = (None,)
        self._known: dict[Any, int] = {}
        self._values: dict[int, Any] = {}
        self._commutative = frozenset([ops[name] for name in _COMMUTATIVE])

    # -- adding nodes --------------------------------------------------------------------

    def place(self, op: Op, args: tuple[int, ...], attrs: tuple[Any, ...], spec: Any) -> int:
        """Return a node for an op on nodes: by the first rule that holds, or a node of its own."""
        rules = self.table.get(op)
        if rules is not None:
            always, chosen = rules
            for rule in always:
                result = rule.apply(self, op, args, attrs, spec, 0)
                if result is not None:
                    if isinstance(result, tuple):
                        return self.place(*result, spec)
                    if self.specs[result] is spec:
                        return result
            if chosen:
                nodes = self.nodes
                for k, j in enumerate(args):
                    argument = nodes[j][0]
                    if argument not in chosen:
                        continue
                    for rule in chosen[argument]:
                        result = rule.apply(self, op, args, attrs, spec, k)
                        if result is not None:
                            if isinstance(result, tuple):
                                return self.place(*result, spec)
                            if self.specs[result] is spec:
                                return result
        return self.add(op, args, attrs, spec)

    def add(self, op: Op, args: tuple[int, ...], attrs: tuple[Any, ...], spec: Any) -> int:
        """Return the node of an op on nodes, without trying rules; equal nodes are one."""
        node = op, args, attrs
        key = node
        if len(args) == 2 and args[0] > args[1] and op in self._commutative:
            key = op, (args[1], args[0]), attrs
        known, specs = self._known, self.specs
        index = len(specs)
        found = known.setdefault(key, index)
        if found != index:
            if specs[found] is spec:
                self._hear(found)
                return found
            known[key] = index
        # As `append`, which would be a call for each node of each graph.
        self.nodes.append(node)
        specs.append(spec)
        self.origins.append(self.origin)
        self.uses.append(0)
        return index

    def append(self, op: Op, args: tuple[int, ...], attrs: tuple[Any, ...], spec: Any) -> int:
        """Append a node as it stands and return its id."""
        self.nodes.append((op, args, attrs))
        self.specs.append(spec)
        self.origins.append(self.origin)
        self.uses.append(0)
        return len(self.nodes) - 1

    def _hear(self, found: int) -> None:
        """Let a node of a gradient warn as the user's own node that it now also stands for."""
        known, own = self.sources[self.origins[found]], self.sources[self.origin]
        if known is not None and known[2] >= 0 and (own is None or own[2] < 0):
            self.origins[found] = self.origin

    def emit(self, name: str, args: tuple[int, ...], *attrs: Any) -> int:
        """Return a node for an op by name, its spec by the spec rule."""
        op = ops[name]
        specs = self.specs
        return self.place(op, args, attrs, op.infer(tuple([specs[j] for j in args]), attrs)[0])

    def replaced(self, graph: Graph, node: int, replacement: Replacement, new: list[int]) -> int:
        """Return what stands for a node of another graph, given the new ids of the nodes before it."""
        return replacement(self, new)

    def literal(self, value: Any, dtype: Any) -> int:
        """Return the node of a Python scalar."""
        value = settled(value)
        key = dtype.num, literal_key(value)
        found = self._known.get(key)
        if found is None:
            spec = recent_spec((), dtype)
            found = self._known[key] = self.append(LITERAL, (), (spec, len(self.literals)), spec)
            self.literals.append(value)
        return found

    # -- reading -------------------------------------------------------------------------

    def constant(self, j: int) -> Any:
        """Return the value of a literal node, as its dtype holds it; None for any other node."""
        op, _, attrs = self.nodes[j]
        if op is not LITERAL:
            return None
        value = self._values.get(j)
        if value is None:
            value = self._values[j] = settled(compute(_as_held, attrs[0].dtype, self.literals[attrs[1]]))
        return value

    # -- the end -------------------------------------------------------------------------

    def graph(self, inputs: tuple[int, ...], outputs: tuple[int, ...], new: list[int]) -> tuple[Graph, list[int]]:
        """Return the live part as a graph, and the old node that each node was made for.

        Parameters
        ----------
        inputs, outputs : tuple of int
        new : list of int
            For each old node the one that stands for it, or -1.
        """
        live = live_nodes(self.nodes, outputs)
        for i in inputs:
            live[i] = 1
        final = list(accumulate(live, initial=0))
        same = live.find(0)  # up to the first dead node, nothing changes
        nodes = list(islice(self.nodes, same if same >= 0 else None))
        literals = self.literals[: sum([node[0] is LITERAL for node in nodes])]
        for op, args, attrs in islice(compress(self.nodes, live), len(nodes), None):
            if len(args) == 2:
                nodes.append((op, (final[args[0]], final[args[1]]), attrs))
            elif len(args) == 1:
                nodes.append((op, (final[args[0]],), attrs))
            elif op is LITERAL:
                nodes.append((op, args, (attrs[0], len(literals))))
                literals.append(self.literals[attrs[1]])
            else:
                nodes.append((op, tuple([final[j] for j in args]), attrs))
        graph = Graph(
            tuple(nodes),
            tuple(compress(self.specs, live)),
            tuple([final[i] for i in inputs]),
            tuple([final[i] for i in outputs]),
            tuple(literals),
            self._final_sources(live, final, new),
        )
        return graph, list(compress(self.origins, live))

    def _final_sources(self, live: bytearray, final: list[int], new: list[int]) -> tuple[RawSource | None, ...]:
        """Return the sources of the live nodes, what they are the gradient of by its new id."""
        sources: list[RawSource | None] = []
        last = moved = None
        for k, source in enumerate(map(self.sources.__getitem__, compress(self.origins, live))):
            if source is None or source[2] < 0:
                sources.append(source)
                continue
            if source is not last:  # most nodes share theirs with the one before
                last = source
                j = new[source[2]] if source[2] < len(new) else -1
                moved = (source[0], source[1], final[j]) if j >= 0 and live[j] else None
            # What a node is the gradient of may be gone; the node stays one of a gradient.
            sources.append(moved or (source[0], source[1], k))
        return tuple(sources)


def rebuild(graph: Graph, g: Builder) -> tuple[Graph, list[int]]:
    """Place the live nodes of a graph in a builder; return what comes out, and origins."""
    nodes, specs, literals = graph.nodes, graph.specs, graph.literals
    g.sources = graph.sources
    uses = count_uses(graph)
    new = [-1] * len(nodes)
    place = g.place
    total = g.uses
    new_id = new.__getitem__
    for i, (op, inputs, attrs) in enumerate(nodes):
        if not uses[i] and op is not INPUT:
            continue
        g.origin = i
        if inputs:
            j = new[i] = place(op, tuple(map(new_id, inputs)), attrs, specs[i])
            total[j] += uses[i]
        elif op is INPUT:
            new[i] = g.append(op, (), attrs, specs[i])
        elif op is LITERAL:
            new[i] = g.literal(literals[attrs[1]], attrs[0].dtype)
        else:
            new[i] = place(op, (), attrs, specs[i])
    return g.graph(tuple([new[i] for i in graph.inputs]), tuple([new[i] for i in graph.outputs]), new)


def replace_nodes(
    graph: Graph, g: Builder, replacements: Mapping[int, Replacement], order: Iterable[int]
) -> tuple[Graph, list[int]]:
    """Copy a graph into a builder, some nodes replaced; return what comes out, and origins.

    Parameters
    ----------
    graph : Graph
    g : Builder
    replacements : mapping
        What stands for some nodes: ``replacement(g, new)``, given the new ids of the nodes before.
    order : iterable of int
        The nodes, in the order they are copied.
    """
    nodes, specs = graph.nodes, graph.specs
    g.sources = graph.sources
    new = [-1] * len(nodes)
    new_id = new.__getitem__
    for i in order:
        op, inputs, attrs = nodes[i]
        g.origin = i
        if i in replacements:
            new[i] = g.replaced(graph, i, replacements[i], new)
        elif op is LITERAL:
            new[i] = g.literal(graph.literals[attrs[1]], attrs[0].dtype)
        elif op is INPUT:
            new[i] = g.append(op, inputs, attrs, specs[i])
        else:
            new[i] = g.add(op, tuple(map(new_id, inputs)), attrs, specs[i])
    return g.graph(tuple([new[i] for i in graph.inputs]), tuple([new[i] for i in graph.outputs]), new)


def _as_held(dtype: np.dtype[Any], value: Any) -> Any:
    """Return a number as values of a dtype hold it."""
    return dtype.type(value).item()


def count_uses(graph: Graph) -> list[int]:
    """Return how many live nodes and outputs use each node; 0 for dead ones."""
    nodes = graph.nodes
    uses = [0] * len(nodes)
    for i in graph.outputs:
        uses[i] += 1
    for i in range(len(nodes) - 1, -1, -1):
        if uses[i]:
            for j in nodes[i][1]:
                uses[j] += 1
    return uses
