"""Regions: a graph with parts of it as single nodes.

Where a graph is cut is data, a `Cut`, which serves all graphs that differ from it in sizes alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, final

from gradloom.graph import INPUT, ITEM, LITERAL, Graph, RawNode
from gradloom.op import define
from gradloom.spec import Spec


def _region_spec(*inputs: Spec, graph: Graph) -> Any:
    specs = graph.output_specs()
    return specs if len(specs) > 1 else specs[0]


#: A region as one node; its attr is the region's graph. With several outputs, items follow it.
REGION = define("region", spec=_region_spec)


class Body(NamedTuple):
    """The nodes of a region, by their ids in the whole graph.

    Attributes
    ----------
    order : tuple of int
        What it computes, in order.
    read : tuple of int
        What these read.
    views : tuple of int
        Those that it makes of inputs of its own, in order.
    outputs : tuple of int
        What it returns.
    """

    order: tuple[int, ...]
    read: tuple[int, ...]
    views: tuple[int, ...]
    outputs: tuple[int, ...]

    def inputs(self, whole: Graph) -> tuple[int, ...]:
        """Return what the region takes."""
        return tuple([whole.nodes[j][1][0] if j in self.views else j for j in self.read])

    def graph(self, whole: Graph) -> Graph:
        """Return the region's graph."""
        ids = {j: k for k, j in enumerate(self.read)}
        specs = [whole.specs[j] for j in self.inputs(whole)]
        nodes: list[RawNode] = [(INPUT, (), (spec.strong(),)) for spec in specs]
        for j in self.views:
            op, _, attrs = whole.nodes[j]
            nodes.append((op, (ids[j],), attrs))
            specs.append(whole.specs[j])
            ids[j] = len(nodes) - 1
        literals: list[Any] = []
        for i in self.order:
            op, inputs, attrs = whole.nodes[i]
            for j in inputs:
                if j not in ids:  # a literal
                    spec, slot = whole.nodes[j][2]
                    ids[j] = len(nodes)
                    nodes.append((LITERAL, (), (spec, len(literals))))
                    specs.append(whole.specs[j])
                    literals.append(whole.literals[slot])
            ids[i] = len(nodes)
            nodes.append((op, tuple([ids[j] for j in inputs]), attrs))
            specs.append(whole.specs[i])
        outputs = tuple([ids[i] for i in self.outputs])
        return Graph(tuple(nodes), tuple(specs), tuple(range(len(self.read))), outputs, tuple(literals))

    def form(self, whole: Graph, kinds: Sequence[int]) -> Any:
        """Return what equal regions have in common, given the kinds of all nodes, which tell the specs they take."""
        ids = {j: k for k, j in enumerate(self.read)}
        words: list[Any] = [len(ids), *[(kinds[j], (ids[j],)) for j in self.views]]
        for i in self.order:
            words.append((kinds[i], tuple([ids[j] if j in ids else ~kinds[j] for j in whole.nodes[i][1]])))
            ids[i] = len(ids)
        return tuple(words), tuple([ids[i] for i in self.outputs])


class Part(NamedTuple):
    """One node of a graph with regions.

    Attributes
    ----------
    old : int
        The node that it stands for; of a region, the last output.
    inputs : tuple of int
        What it takes, by new ids.
    body : int
        Which region it is, -1 for a node as it was.
    item : int
        Which output of the region before it, -1 for none.
    """

    old: int
    inputs: tuple[int, ...]
    body: int = -1
    item: int = -1


class Cut(NamedTuple):
    """Where a graph is cut into regions, those that are equal given once, and the nodes it then has."""

    bodies: tuple[Body, ...]
    parts: tuple[Part, ...]
    #: The new ids of the nodes there still are.
    new: Mapping[int, int]

    def graph(self, whole: Graph) -> Graph:
        """Return a graph with its regions as single nodes."""
        known: dict[Graph, Graph] = {}  # so that who compares a region with others need not look inside
        regions = [known.setdefault(region, region) for region in [body.graph(whole) for body in self.bodies]]
        region_specs = [_region_spec(graph=region) for region in regions]
        attrs_of = [(region,) for region in regions]
        old_nodes, old_specs, old_sources, new = whole.nodes, whole.specs, whole.sources, self.new
        nodes: list[RawNode] = []
        specs: list[Any] = []
        sources: list[Any] = []
        for own, (old, inputs, body, item) in enumerate(self.parts):
            if body >= 0:
                nodes.append((REGION, inputs, attrs_of[body]))
                specs.append(region_specs[body])
            else:
                op, _, attrs = old_nodes[old]
                nodes.append((op, inputs, attrs) if item < 0 else (ITEM, inputs, (item,)))
                specs.append(old_specs[old])
            source = old_sources[old]
            if source is not None and source[2] >= 0:
                # What a node is the gradient of may be inside of a region; the node stays one of a gradient.
                source = (source[0], source[1], min(new.get(source[2], own), own))
            sources.append(source)
        inputs, outputs = tuple([new[i] for i in whole.inputs]), tuple([new[i] for i in whole.outputs])
        return Graph(tuple(nodes), tuple(specs), inputs, outputs, whole.literals, tuple(sources))


def cut(
    graph: Graph,
    regions: Sequence[Sequence[int]],
    free: Collection[int],
    crossing: Collection[int],
    kinds: Sequence[int],
) -> Cut:
    """Return the cut of a graph into some regions.

    Parameters
    ----------
    graph : Graph
    regions : sequence
        The nodes of each region, in order.
    free : collection of int
        Nodes that cost nothing: each region that needs one holds its own copy.
    crossing : collection of int
        Views that a region that reads one makes of an input of its own.
    kinds : sequence of int
        Nodes of the same kind differ in nothing but their inputs; see `gradloom.kinds`.
    """
    bodies = [_body(graph, members, free, crossing) for members in regions]
    return _Cutter(graph, bodies, kinds).cut()


def _body(graph: Graph, members: Sequence[int], free: Collection[int], crossing: Collection[int]) -> Body:
    """Return a region of some nodes that returns all of them."""
    nodes = graph.nodes
    found = set(members)
    stack = list(members)
    while stack:
        for j in nodes[stack.pop()][1]:
            if j in free and j not in found and nodes[j][0] is not LITERAL:
                found.add(j)
                stack.append(j)
    order = tuple(sorted(found))
    read = dict.fromkeys([j for i in order for j in nodes[i][1] if j not in found and nodes[j][0] is not LITERAL])
    return Body(order, tuple(read), tuple(sorted([j for j in read if j in crossing])), tuple(members))


@final
class _Cutter:
    """Finds the parts of a graph with regions; without recursion."""

    def __init__(self, graph: Graph, bodies: Sequence[Body], kinds: Sequence[int]) -> None:
        self.graph = graph
        self.kinds = kinds
        self.region_of = {i: k for k, body in enumerate(bodies) for i in body.outputs}
        self.inputs = [body.inputs(graph) for body in bodies]
        self.all_bodies = self._with_asked(bodies)
        self.parts: list[Part] = []
        self.new: dict[int, int] = {}
        self.bodies: list[Body] = []
        self._known: dict[Any, int] = {}

    def cut(self) -> Cut:
        for i in (*self.graph.inputs, *self.graph.outputs):
            self._emit(i)
        return Cut(tuple(self.bodies), tuple(self.parts), self.new)

    def _needs(self, i: int) -> tuple[int, ...]:
        k = self.region_of.get(i)
        return self.graph.nodes[i][1] if k is None else self.inputs[k]

    def _with_asked(self, bodies: Sequence[Body]) -> list[Body]:
        """Return regions that return no more than others ask for."""
        asked: set[int] = set()
        stack = list(self.graph.outputs)
        while stack:
            i = stack.pop()
            if i not in asked:
                asked.add(i)
                stack += self._needs(i)
        return [body._replace(outputs=tuple([i for i in body.outputs if i in asked])) for body in bodies]

    def _emit(self, i: int) -> None:
        """Append a node, or its region, after everything it needs."""
        new = self.new
        stack = [i]
        while stack:
            i = stack[-1]
            missing = [] if i in new else [j for j in self._needs(i) if j not in new]
            if missing:
                stack += missing
                continue
            stack.pop()
            if i in new:
                continue
            k = self.region_of.get(i)
            inputs = tuple([new[j] for j in self._needs(i)])
            if k is None:
                self._append(Part(i, inputs))
            else:
                self._append_region(k, inputs)

    def _append(self, part: Part) -> int:
        self.new[part.old] = len(self.parts)
        self.parts.append(part)
        return len(self.parts) - 1

    def _append_region(self, k: int, inputs: tuple[int, ...]) -> None:
        body = self.all_bodies[k]
        number = self._known.setdefault(body.form(self.graph, self.kinds), len(self.bodies))
        if number == len(self.bodies):
            self.bodies.append(body)
        parent = self._append(Part(body.outputs[-1], inputs, number))
        if len(body.outputs) > 1:
            for item, i in enumerate(body.outputs):
                self._append(Part(i, (parent,), -1, item))
