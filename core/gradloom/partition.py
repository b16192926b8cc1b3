"""Partition: cut a graph into regions, each of which a compiler makes one kernel.

A region is a connected set of nodes that a compiler accepts, with no other node between them.
Fusion goes along dependencies: what only meets in a scalar at the end stays apart, and so can
run at the same time.

Each fusible node has a depth: that of its inputs, one more behind anything that is not in its
own region. Nodes of one depth that are joined by edges make a region. No path leaves a region
and comes back, since it would come back at a greater depth.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, final

from gradloom.compiler import AbstractCompiler
from gradloom.graph import INPUT, LITERAL, Graph, live_nodes
from gradloom.kinds import Kinds
from gradloom.labels import AxisLabels, crossing_nodes, label_axes
from gradloom.recent import Recent
from gradloom.regions import Cut, cut

#: Values of at least this many elements count as heavy: their loops are worth running apart.
HEAVY = 4096
#: Ops that compute nothing: each region that needs one holds its own copy.
_VIEWS = frozenset("broadcast_to reshape transpose positive stop_gradient".split())
#: Ops that cost next to nothing of numbers that are counted: which elements lie on a diagonal, or below it.
_COMPARISONS = frozenset("equal not_equal less less_equal greater greater_equal".split())
_NO_LABELS: frozenset[Any] = frozenset()


#: Nodes of the graphs whose cuts are remembered, at most.
MAX_NODES = 20_000
_CUTS: Recent[Cut] = Recent(most=64)


@final
class _Cluster:
    """Nodes that will be one region: the labels of the heavy loops among them, and their common forms."""

    __slots__ = ("forms", "labels", "parent")

    def __init__(self, labels: frozenset[int], forms: int) -> None:
        self.labels = labels
        self.forms = forms
        self.parent: _Cluster | None = None

    def root(self) -> _Cluster:
        cluster = self
        while cluster.parent is not None:
            if cluster.parent.parent is not None:
                cluster.parent = cluster.parent.parent
            cluster = cluster.parent
        return cluster


def partition(graph: Graph, compiler: AbstractCompiler, elsewhere: Collection[int] = ()) -> Graph:
    """Return the graph with its regions as single nodes.

    Parameters
    ----------
    graph : Graph
    compiler : AbstractCompiler
        Says which nodes a region may hold.
    elsewhere : collection of int
        Nodes that run on other devices than the compiler's, and are in no region.

    Returns
    -------
    Graph
        The same inputs and outputs; each region is a node of the op `REGION`.

    Notes
    -----
    Cost: linear in the number of nodes. Equal graphs give equal regions, and so do repeated
    parts of one graph, such as the steps of an unrolled loop. Where regions begin and end follows from the kinds
    of the nodes, so graphs of other sizes share what is found here.
    """
    kinds = Kinds(graph, compiler, elsewhere, HEAVY)

    def find() -> Cut:
        partition = _Partition(graph, kinds, elsewhere)
        return cut(graph, partition.regions(), partition.sources, partition.crossing, kinds.of)

    found = _CUTS.get(kinds.key, find) if len(graph.nodes) <= MAX_NODES else find()
    return found.graph(graph) if found.bodies else graph


@final
class _Partition:
    """What follows from the kinds of a graph's nodes: it must not look at sizes otherwise."""

    def __init__(self, graph: Graph, kinds: Kinds, elsewhere: Collection[int]) -> None:
        self.graph = graph
        self.live = live_nodes(graph.nodes, graph.outputs)
        traits = [kinds.traits[kind] for kind in kinds.of]
        #: Whether each node has many elements.
        self.large = [own.heavy for own in traits]
        self.forms = bytearray([own.forms if live else 0 for own, live in zip(traits, self.live, strict=True)])
        #: Views that no region may see through; one that reads such a view makes it of an input of its own.
        self.crossing: set[int] = set()
        for i in elsewhere:
            self.forms[i] = 0
        #: The labels of each node's loop, where it is long.
        self.heavy = self._loops()
        #: Of nodes that cost nothing (views, what depends on literals alone): what they stand for.
        self.sources: dict[int, tuple[int, ...]] = {}
        #: What each node reads, seen through those.
        self.needs: list[list[int]] = [[]] * len(graph.nodes)
        self.depth = [-1] * len(graph.nodes)
        self.clusters: list[_Cluster | None] = [None] * len(graph.nodes)

    def regions(self) -> list[list[int]]:
        """Return the nodes of each region, in order."""
        self._assign()
        self._sink()
        found: dict[_Cluster, list[int]] = {}
        for i, cluster in enumerate(self.clusters):
            if cluster is not None:
                found.setdefault(cluster.root(), []).append(i)
        return [members for members in found.values() if len(members) > 1 or self.large[members[0]]]

    def _loops(self) -> list[frozenset[int]]:
        """Return the labels of each long loop; a node that would run twice along one takes no general form."""
        nodes, forms = self.graph.nodes, self.forms
        long = self.large
        if True not in long and 1 not in forms:
            return [_NO_LABELS] * len(nodes)  # nothing whose loops matter
        labels = label_axes(self.graph, forms)
        twice = set(filter(_runs_twice, set(labels)))
        if twice and any([own in twice and form & 1 for own, form in zip(labels, forms, strict=True)]):
            views = [op.name in _VIEWS for op, _, _ in nodes]
            for i in crossing_nodes(self.graph, forms, views, HEAVY):
                if views[i] and forms[i] & 1:
                    self.crossing.add(i)
                forms[i] = 0
            labels = label_axes(self.graph, forms)
            twice = set(filter(_runs_twice, set(labels)))
        if twice:
            for i, (_, inputs, _) in enumerate(nodes):
                if labels[i] in twice or any([labels[j] in twice for j in inputs]):
                    forms[i] &= ~1
        known: dict[Any, frozenset[int]] = {}
        loops = []
        for i, (_, inputs, _) in enumerate(nodes):
            loop = _NO_LABELS
            if forms[i] and (long[i] or True in [long[j] for j in inputs]):
                key = (labels[i], *[labels[j] for j in inputs])
                if key not in known:
                    known[key] = frozenset([a for own in key for a in own if a is not None])
                loop = known[key]
            loops.append(loop)
        return loops

    def _assign(self) -> None:
        """Give each node a depth, and each fusible one that computes something a cluster."""
        forms, clusters, depths, sources = self.forms, self.clusters, self.depth, self.sources
        numbers: set[int] = set()
        counted: set[int] = set()
        for i, (op, inputs, _) in enumerate(self.graph.nodes):
            if (op is not INPUT and not inputs) or (op.name in _VIEWS and counted.issuperset(inputs)):
                counted.add(i)
            if op is LITERAL:
                sources[i] = ()
                numbers.add(i)
            if op is INPUT or op is LITERAL or not self.live[i]:
                continue
            form = forms[i]
            needs: list[int] = []
            for j in inputs:
                if j not in sources:
                    needs.append(j)
                else:
                    needs += sources[j]
                    if j not in numbers:
                        form &= forms[j]  # which goes wherever this node goes
            if len(needs) > 1:
                needs = list(dict.fromkeys(needs))
            forms[i], self.needs[i] = form, needs
            is_counted = op.name in _COMPARISONS and counted.issuperset(needs)
            if form & 1 and (not needs or op.name in _VIEWS or is_counted):
                sources[i] = tuple(needs)
                continue
            depth = 0
            for j in needs:
                behind = depths[j] + (not form or clusters[j] is None)
                if behind > depth:
                    depth = behind
            if form:
                depth, clusters[i] = self._join(i, depth)
            depths[i] = depth

    def _join(self, i: int, depth: int) -> tuple[int, _Cluster]:
        """Join a node to the clusters of its inputs at its depth, or start a new one behind them."""
        heavy, form = self.heavy[i], self.forms[i]
        near: list[_Cluster] = []
        for j in self.needs[i]:
            cluster = self.clusters[j]
            if cluster is not None and self.depth[j] == depth:
                if cluster.parent is not None:
                    cluster = cluster.root()
                if cluster not in near:
                    near.append(cluster)
        if not near:
            return depth, _Cluster(heavy, form)
        joined, forms = heavy, form
        for cluster in near:
            forms &= cluster.forms
            if not forms or (joined and cluster.labels and not joined & cluster.labels):
                return depth + 1, _Cluster(heavy, form)
            joined = joined | cluster.labels
        first = near[0]
        first.labels, first.forms = joined, forms
        for other in near[1:]:
            other.parent = first
        return depth, first

    # -- sinking -----------------------------------------------------------------------------

    def _sink(self) -> None:
        """Move nodes that only one later region needs into it, where that stores no more arrays.

        ``1 - tanh(z)**2`` is computed where the backward pass asks for it, from the stored tanh(z).
        """
        users = self._users()
        roots = [None if cluster is None else cluster.root() for cluster in self.clusters]
        target = self._targets(users, roots)
        doubtful = sorted(target)
        while doubtful:
            i = doubtful.pop()
            if i not in target:
                continue
            goal = target[i]
            stays = False
            for u in users[i]:
                if target.get(u, roots[u]) is not goal:
                    stays = True
            for j in () if stays else self.needs[i]:
                if j not in target and not self._is_stored(j, users, roots, target):
                    stays = True
            if stays:
                del target[i]
                # What was to go with it must be looked at again.
                doubtful += [k for k in (*self.needs[i], *users[i]) if k in target]
        for i, cluster in target.items():
            self.clusters[i] = cluster

    def _users(self) -> list[list[int]]:
        """Return who reads each node, -1 standing for the outputs of the graph."""
        users: list[list[int]] = [[] for _ in self.needs]
        for i, needs in enumerate(self.needs):
            if i not in self.sources:
                for j in needs:
                    users[j].append(i)
        for i in self.graph.outputs:
            for j in self.sources.get(i, (i,)):
                users[j].append(-1)
        return users

    def _targets(self, users: list[list[int]], roots: list[_Cluster | None]) -> dict[int, _Cluster]:
        """Return, for each node that could move, the one later region of all its readers."""
        target: dict[int, _Cluster] = {}
        for i in range(len(users) - 1, -1, -1):
            own = roots[i]
            readers = users[i]
            if own is None or not readers or -1 in readers:
                continue
            goal = target.get(readers[0]) or roots[readers[0]]
            if goal is None or goal is own or not self.forms[i] & goal.forms:
                continue
            if any([(target.get(u) or roots[u]) is not goal for u in readers[1:]]):
                continue
            heavy = self.heavy[i]
            if not heavy or heavy & goal.labels:
                target[i] = goal
                goal.forms &= self.forms[i]
        return target

    def _is_stored(
        self, j: int, users: list[list[int]], roots: list[_Cluster | None], target: dict[int, _Cluster]
    ) -> bool:
        """Return whether a node's value is kept in any case: others outside its region read it."""
        if roots[j] is None:
            return True
        return any([u < 0 or roots[u] is not roots[j] for u in users[j] if u not in target])


def _runs_twice(labels: AxisLabels) -> bool:
    there = [a for a in labels if a is not None]
    return len(set(there)) < len(there)
