"""Order: the sequence of a graph's nodes that keeps little memory alive.

A trace records branch after branch, and derivatives behind all values: run as recorded, the values of
every branch wait for the derivatives at the end. Here what frees memory runs as soon as it can, and
of the rest what became possible last, so that a branch is worked off, back and forth, before the next begins.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heappop, heappush

from gradloom.graph import ITEM, Graph


def economical_order(graph: Graph, nodes: Sequence[int], kept: Collection[int]) -> list[int]:
    """Return nodes in another topological order, in which few bytes are alive at a time.

    Parameters
    ----------
    graph : Graph
    nodes : sequence of int
        Those that run, in topological order.
    kept : collection of int
        Values that are never freed: outputs, constants.

    Returns
    -------
    list of int
        It depends on the graph alone.

    Notes
    -----
    O((n + e) log n) for n nodes and e edges: a node's place among those that are ready changes only when it turns
    out to be the last reader of a value.
    """
    memory = _Memory(graph, nodes, kept)
    waits = dict.fromkeys(nodes, 0)
    readers: dict[int, list[int]] = {i: [] for i in nodes}
    for i in nodes:
        for j in set(graph.nodes[i][1]):
            if j in waits:
                readers[j].append(i)
                waits[i] += 1
    # Of nodes that allocate, the one that became ready last; nodes that do not go before all of them.
    ready: list[tuple[bool, int, int]] = []
    since: dict[int, int] = {}
    result: list[int] = []

    def enter(i: int, when: int) -> None:
        since[i] = when
        heappush(ready, (memory.grows(i), -when, i))

    for i in nodes:
        if not waits[i]:
            enter(i, 0)
    while ready:
        _, _, i = heappop(ready)
        if since.pop(i, None) is None:
            continue  # it ran when its place had changed
        result.append(i)
        for j in memory.run(i):
            if j in since:
                heappush(ready, (memory.grows(j), -since[j], j))
        for j in readers[i]:
            waits[j] -= 1
            if not waits[j]:
                enter(j, len(result))
    return result


class _Memory:
    """What each node allocates and frees, as nodes run."""

    def __init__(self, graph: Graph, nodes: Sequence[int], kept: Collection[int]) -> None:
        self.graph = graph
        #: The node whose memory each value lies in.
        self.owners = list(range(len(graph.nodes)))
        #: Bytes that are freed with the last reader of a value.
        self.freed = [0] * len(graph.nodes)
        #: Nodes that have yet to read each value.
        self.readers: dict[int, set[int]] = {}
        for i in nodes:
            op, inputs, _ = graph.nodes[i]
            if op.view and inputs:
                self.owners[i] = self.owners[inputs[0]]
            else:
                self.freed[i] = 0 if type(graph.specs[i]) is tuple else graph.specs[i].nbytes
            for j in inputs:
                self.readers.setdefault(self.owners[j], set()).add(i)
        for i in kept:
            self.freed[self.owners[i]] = 0
        #: Bytes that a node allocates; one of several outputs, those of its items.
        self.allocated = list(self.freed)
        for i in nodes:
            op, inputs, _ = graph.nodes[i]
            if op is ITEM:
                self.allocated[inputs[0]] += self.freed[i]
                self.allocated[i] = 0

    def grows(self, i: int) -> bool:
        """Return whether a node would allocate more than it frees."""
        owners = {self.owners[j] for j in self.graph.nodes[i][1]}
        return self.allocated[i] > sum([self.freed[j] for j in owners if len(self.readers[j]) == 1])

    def run(self, i: int) -> list[int]:
        """Take note that a node ran; return the nodes that are now the only readers of a value."""
        last: list[int] = []
        for j in {self.owners[j] for j in self.graph.nodes[i][1]}:
            left = self.readers[j]
            left.discard(i)
            if len(left) == 1:
                last += left
        return last
