"""Order: the sequence of a graph's nodes that keeps little memory alive.

A trace records branch after branch, and derivatives behind all values: run as recorded, the values of
every branch wait for the derivatives at the end. Here what frees memory runs as soon as it can, and
of the rest what became possible last, so that a branch is worked off, back and forth, before the next begins.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from heapq import heappop, heappush

from gradloom.graph import ITEM, Graph
from gradloom.symbolic import total


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
    growth = memory.growth
    waits = [-1] * len(graph.nodes)
    followers: list[list[int]] = [[] for _ in graph.nodes]
    for i in nodes:
        before = [j for j in set(graph.nodes[i][1]) if waits[j] >= 0]
        waits[i] = len(before)
        for j in before:
            followers[j].append(i)
    # Of nodes that allocate, the one that became ready last; nodes that do not go before all of them.
    ready: list[tuple[bool, int, int]] = []
    since: dict[int, int] = {}
    result: list[int] = []

    def enter(i: int, when: int) -> None:
        since[i] = when
        heappush(ready, (growth[i] > 0, -when, i))

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
                heappush(ready, (growth[j] > 0, -since[j], j))
        for j in followers[i]:
            waits[j] -= 1
            if not waits[j]:
                enter(j, len(result))
    return result


class _Memory:
    """What each node allocates and frees, as nodes run."""

    def __init__(self, graph: Graph, nodes: Sequence[int], kept: Collection[int]) -> None:
        count = len(graph.nodes)
        #: The node whose memory each value lies in.
        owners = list(range(count))
        #: The memory that each node reads.
        self.reads: list[Collection[int]] = [()] * count
        #: Bytes that are freed with the last reader of a value.
        self.freed = [0] * count
        #: How many nodes have yet to read each value, and their ids, joined by exclusive or.
        self.left = [0] * count
        self.readers = [0] * count
        for i in nodes:
            op, inputs, _ = graph.nodes[i]
            if op.view and inputs:
                owners[i] = owners[inputs[0]]
            elif type(graph.specs[i]) is not tuple:
                self.freed[i] = graph.specs[i].nbytes
            self.reads[i] = {owners[j] for j in inputs}
            for j in self.reads[i]:
                self.left[j] += 1
                self.readers[j] ^= i
        for i in kept:
            self.freed[owners[i]] = 0
        #: Bytes that each node allocates more than it frees; one of several outputs, those of its items.
        self.growth = list(self.freed)
        for i in nodes:
            op, inputs, _ = graph.nodes[i]
            if op is ITEM:
                self.growth[inputs[0]] += self.freed[i]
                self.growth[i] -= self.freed[i]
        last: dict[int, list[int]] = {}
        for j, count in enumerate(self.left):
            if count == 1:
                last.setdefault(self.readers[j], []).append(self.freed[j])
        for i, sizes in last.items():
            self.growth[i] -= total(sizes)

    def run(self, i: int) -> list[int]:
        """Take note that a node ran; return the nodes that are now the only readers of a value."""
        last: list[int] = []
        for j in self.reads[i]:
            self.left[j] -= 1
            self.readers[j] ^= i
            if self.left[j] == 1:
                last.append(self.readers[j])
                self.growth[last[-1]] -= self.freed[j]
        return last
