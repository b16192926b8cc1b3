"""Chains: the parts of a graph that run by blocks, and how many rows a block has; see `gradloom.blocks`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, final

from gradloom.blocks import BLOCKS
from gradloom.graph import Graph
from gradloom.labels import label_axes
from gradloom.regions import Body, body_of, cut
from gradloom.split import Extent, SplitError

#: Bytes of the arrays of one block that go from kernel to kernel: what several threads find in a cache they share.
BLOCK_BYTES = 4 * 2**20
#: How many blocks there are at least, and rows of each, so that it pays.
LEAST_BLOCKS, LEAST_ROWS = 3, 32


def in_blocks(graph: Graph, parting: Sequence[int]) -> Graph:
    """Return the graph with what is to run by blocks as single nodes.

    Parameters
    ----------
    graph : Graph
    parting : sequence of int
        The nodes that part regions, whose arrays go by way of memory.
    """
    labels = label_axes(graph)
    chains: list[_Chain] = []
    taken: set[int] = set()
    for label in dict.fromkeys([label for i in parting for label in labels[i] if label is not None]):
        if all([i in taken for i in parting if label in labels[i]]):
            continue
        with suppress(SplitError):
            found = _chains(graph, Extent(graph, labels, label), parting)
            chains += [chain for chain in found if taken.isdisjoint(chain.body.order)]
            taken.update(*[chain.body.order for chain in chains])
    return _with_blocks(graph, chains) if chains else graph


@final
class _Chain:
    """A connected part of a graph, the axis of each node that is cut, and how many rows a block has."""

    __slots__ = ("axes", "body", "rows")

    def __init__(self, body: Body, axes: Sequence[int | None], rows: Any) -> None:
        self.body, self.axes, self.rows = body, axes, rows


def _chains(graph: Graph, extent: Extent, parting: Sequence[int]) -> list[_Chain]:
    """Return the connected parts along an axis that pay for being run by blocks."""
    nodes, axes = graph.nodes, extent.axes
    members = [
        i
        for i, (op, inputs, _) in enumerate(nodes)
        if inputs and extent.live[i] and (axes[i] is not None or i in extent.combines)
    ]
    if any([extent.stages[i] for i in members]):
        return []  # there would be several passes, between which arrays go by way of memory
    free = {i for i in members if nodes[i][0].view and not any([axes[j] is not None for j in nodes[i][1]])}
    found = []
    for part in _connected(graph, [i for i in members if i not in free]):
        body = body_of(graph, part, free)
        rows = _rows(graph, extent, body, [i for i in parting if i in body.order])
        if rows is not None:
            found.append(_Chain(body, axes, rows))
    return found


def _connected(graph: Graph, members: Sequence[int]) -> list[list[int]]:
    """Return nodes in groups that edges join."""
    parent = {i: i for i in members}

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i in members:
        for j in graph.nodes[i][1]:
            if j in parent:
                parent[root(j)] = root(i)
    groups: dict[int, list[int]] = {}
    for i in members:
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())


def _rows(graph: Graph, extent: Extent, body: Body, parting: Sequence[int]) -> Any:
    """Return how many rows a block has, None where blocks do not pay.

    They do where the arrays that go to and from the nodes that part regions, and no further, are much larger than a
    block, and what each block reads as a whole, or adds to, is not. What is joined is copied once more.
    """
    nodes, specs, axes = graph.nodes, graph.specs, extent.axes
    inside = set(body.order)
    others = [inputs for i, (_, inputs, _) in enumerate(nodes) if extent.live[i] and i not in inside]
    leaving = {_owner(graph, i) for i in (*graph.outputs, *[j for inputs in others for j in inputs])} & inside
    near = {_owner(graph, j) for i in parting for j in (i, *nodes[i][1])} & inside
    passed = sorted([i for i in near - leaving if axes[i] is not None])
    if not passed or not any([axes[i] is not None for i in body.read]):
        return None
    total, length = sum([specs[i].nbytes for i in passed]), extent.length(passed[0])
    joined = sum([specs[i].nbytes for i in leaving if axes[i] is not None])
    whole = sum([specs[i].nbytes for i in (*body.read, *body.order) if axes[i] is None])
    few = total < LEAST_BLOCKS * BLOCK_BYTES or total < 2 * joined
    if few or total * LEAST_ROWS > length * BLOCK_BYTES or 2 * whole > BLOCK_BYTES:
        return None
    return BLOCK_BYTES * length // total


def _owner(graph: Graph, i: int) -> int:
    """Return the node whose memory a node's value lies in."""
    while graph.nodes[i][0].view and graph.nodes[i][1]:
        i = graph.nodes[i][1][0]
    return i


def _with_blocks(graph: Graph, chains: Sequence[_Chain]) -> Graph:
    """Return the graph with some parts of it as single nodes."""
    of_body = {chain.body.order: chain for chain in chains}
    members = [chain.body.outputs for chain in chains]
    free = {i for chain in chains for i in chain.body.order}.difference(*members)
    found = cut(graph, members, free, (), range(len(graph.nodes)))
    whole = found.graph(graph)
    nodes = list(whole.nodes)
    for i, part in enumerate(found.parts):
        if part.body >= 0:
            _, inputs, (region,) = nodes[i]
            body = found.bodies[part.body]
            chain = of_body[body.order]
            nodes[i] = BLOCKS, inputs, (region, tuple([chain.axes[j] for j in body.read]), chain.rows)
    return Graph(tuple(nodes), whole.specs, whole.inputs, whole.outputs, whole.literals, whole.sources)
