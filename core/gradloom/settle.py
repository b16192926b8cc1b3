"""Settle: from where ops were asked to run to where each one runs, with every copy a node of its own.

Copies that cancel go, those that several ops need are made once, and what may run on one of several
devices is spread over them by list scheduling. The result depends on the graph alone.
"""

from __future__ import annotations

from typing import Any, final

from gradloom.backend import backends
from gradloom.cost import node_cost
from gradloom.errors import DeviceError
from gradloom.graph import Graph, RawNode
from gradloom.placement import ANYWHERE, MOVES, held_resources, is_device, move, node_places

#: What a copy from one device to another takes: seconds to begin with, and bytes a second.
COPY_SECONDS = 20e-6
COPY_BYTES = 10e9


def settle(graph: Graph, backend: str) -> Graph:
    """Return a graph in which each op is at one place, for runs that are at home on some backend.

    Parameters
    ----------
    graph : Graph
    backend : str
        Name of the backend of the graph's inputs and outputs.

    Raises
    ------
    DeviceError
        If an op holds a graph that needs several resources.
    """
    places = node_places(graph)
    for i, (op, _, attrs) in enumerate(graph.nodes if places is not None else ()):
        if len(held_resources(attrs)) > 1:
            source = graph.source(i)
            raise DeviceError(
                "one op cannot need several resources",
                op=op.name,
                expected="a function of which all parts need the same",
                got=", ".join(held_resources(attrs)),
                remedy="use one gl.device block in it",
                location=None if source is None else str(source),
            )
    return graph if places is None else _Settler(graph, places, backend).graph()


@final
class _Settler:
    def __init__(self, graph: Graph, places: list[str | None], backend: str) -> None:
        self.old = graph
        self.places = places
        #: A name that home has as well.
        self.home = f"{backend}:0" if backends.get(backend).devices() == 1 else None
        self.nodes: list[RawNode] = []
        self.specs: list[Any] = []
        self.sources: list[Any] = []
        #: For each new node: where it is, and what it is a copy of.
        self.at: list[str | None] = []
        self.roots: list[int] = []
        #: When each new node is known and each device is free, by estimate.
        self.ready: list[float] = []
        self.busy: dict[str | None, float] = {}
        self.new: list[int] = []
        self._moved: dict[tuple[int, str | None], int] = {}

    def graph(self) -> Graph:
        """Return the settled graph."""
        old = self.old
        for i, (op, inputs, attrs) in enumerate(old.nodes):
            if op in MOVES:  # what reads it says where
                self.new.append(self.new[inputs[0]])
                continue
            place = self._choose(i)
            args = tuple([self._bring(self.new[j], place, i) for j in inputs])
            start = max([self.busy.get(place, 0.0), *[self.ready[k] for k in args]])
            self.new.append(self._append((op, args, attrs), old.specs[i], old.sources[i], place))
            if inputs:
                self.busy[place] = self.ready[-1] = start + node_cost(old, i).seconds()
        outputs = tuple([self._bring(self.new[i], None, i) for i in old.outputs])
        inputs = tuple([self.new[i] for i in old.inputs])
        return Graph(tuple(self.nodes), tuple(self.specs), inputs, outputs, old.literals, tuple(self.sources))

    def _choose(self, i: int) -> str | None:
        """Return the place of a node; of several devices the one that can begin first.

        What is the derivative of a node runs where that does.
        """
        place = self.places[i]
        if place == self.home:
            return None
        if place is None or "|" not in place:
            return place
        inputs = [self.new[j] for j in self.old.nodes[i][1]]
        found = [None if name == self.home else name for name in place.split("|")]
        source = self.old.sources[i]
        if source is not None and 0 <= source[2] < i and self.at[self.new[source[2]]] in found:
            return self.at[self.new[source[2]]]
        return min(found, key=lambda name: max([self.busy.get(name, 0.0), *[self._arrival(k, name) for k in inputs]]))

    def _arrival(self, k: int, place: str | None) -> float:
        """Return when a value can be at a place."""
        root = self.roots[k]
        known = self._moved.get((root, place))
        if known is not None or self._is_at(root, place):
            return self.ready[root if known is None else known]
        return self.ready[root] + self._copy_seconds(root)

    def _copy_seconds(self, k: int) -> float:
        spec = self.specs[k]
        return COPY_SECONDS + (0 if type(spec) is tuple else spec.nbytes) / COPY_BYTES

    def _is_at(self, k: int, place: str | None) -> bool:
        """Return whether a value need not be moved; what is anywhere is made at home."""
        return self.at[k] == place or (self.at[k] == ANYWHERE and not is_device(place))

    def _bring(self, k: int, place: str | None, i: int) -> int:
        """Return a node with the value of another at a place; ``i`` is the old node that asks for it."""
        root = self.roots[k]
        if place == ANYWHERE or self._is_at(root, place):
            return root
        found = self._moved.get((root, place))
        if found is None:
            source = self.at[root] if self.at[root] != ANYWHERE else None
            op, attrs = move(source, place)
            found = self._append((op, (root,), attrs), self.specs[root], self.old.sources[i], place)
            self._moved[root, place] = found
            self.roots[found] = root
            self.ready[found] = self.ready[root] + (self._copy_seconds(root) if is_device(place) else 0.0)
        return found

    def _append(self, node: RawNode, spec: Any, source: Any, place: str | None) -> int:
        if source is not None and source[2] >= 0:
            source = source[0], source[1], self.new[source[2]] if source[2] < len(self.new) else len(self.nodes)
        self.nodes.append(node)
        self.specs.append(spec)
        self.sources.append(source)
        self.at.append(place)
        self.roots.append(len(self.nodes) - 1)
        self.ready.append(0.0)
        return len(self.nodes) - 1
