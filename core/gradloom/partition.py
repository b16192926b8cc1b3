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
from gradloom.graph import INPUT, ITEM, LITERAL, Graph, RawNode, live_nodes
from gradloom.labels import AxisLabels, crossing_nodes, label_axes
from gradloom.op import define
from gradloom.spec import Spec

#: Values of at least this many elements count as heavy: their loops are worth running apart.
HEAVY = 4096
#: Ops that compute nothing: each region that needs one holds its own copy.
_VIEWS = frozenset("broadcast_to reshape transpose positive stop_gradient".split())
_NO_LABELS: frozenset[Any] = frozenset()


def _region_spec(*inputs: Spec, graph: Graph) -> Any:
    specs = graph.output_specs()
    return specs if len(specs) > 1 else specs[0]


#: A region as one node; its attr is the region's graph. With several outputs, items follow it.
REGION = define("region", spec=_region_spec)


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
    parts of one graph, such as the steps of an unrolled loop.
    """
    partition = _Partition(graph, compiler, elsewhere)
    regions = partition.regions()
    return _Rewriter(graph, regions, partition.sources, partition.crossing).graph() if regions else graph


@final
class _Partition:
    def __init__(self, graph: Graph, compiler: AbstractCompiler, elsewhere: Collection[int]) -> None:
        self.graph = graph
        self.live = live_nodes(graph.nodes, graph.outputs)
        #: How many elements each node has.
        self.sizes = [0 if type(s) is tuple else s.size for s in graph.specs]
        self.forms = self._forms(compiler)
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
        return [members for members in found.values() if len(members) > 1 or self.sizes[members[0]] >= HEAVY]

    def _forms(self, compiler: AbstractCompiler) -> bytearray:
        nodes, specs = self.graph.nodes, self.graph.specs
        forms = bytearray(len(nodes))
        known: dict[Any, int] = {}
        for i, (op, inputs, attrs) in enumerate(nodes):
            if self.live[i] and inputs and op is not ITEM:
                given = tuple([specs[j] for j in inputs])
                key = op, given, attrs, specs[i]
                found = known.get(key)
                if found is None:
                    several = tuple in map(type, (*given, specs[i]))
                    found = known[key] = 0 if several else compiler.forms(op, given, attrs, specs[i])
                forms[i] = found
        return forms

    def _loops(self) -> list[frozenset[int]]:
        """Return the labels of each long loop; a node that would run twice along one takes no general form."""
        nodes, forms = self.graph.nodes, self.forms
        long = [size >= HEAVY for size in self.sizes]
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
        for i, (op, inputs, _) in enumerate(self.graph.nodes):
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
            if form & 1 and (not needs or op.name in _VIEWS):
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


@final
class _Rewriter:
    """Builds the graph in which each region is one node; without recursion."""

    def __init__(
        self, graph: Graph, regions: list[list[int]], free: dict[int, tuple[int, ...]], crossing: set[int]
    ) -> None:
        self.old = graph
        self.regions = regions
        self.region_of = {i: k for k, members in enumerate(regions) for i in members}
        self.bodies = [_Body(graph, members, free, crossing) for members in regions]
        self.nodes: list[RawNode] = []
        self.specs: list[Any] = []
        self.sources: list[Any] = []
        self.new_ids: dict[int, int] = {}
        self.known: dict[Graph, Graph] = {}

    def graph(self) -> Graph:
        """Return the new graph."""
        old = self.old
        self._find_outputs()
        for i in (*old.inputs, *old.outputs):
            self._emit(i)
        ids = self.new_ids
        inputs, outputs = tuple([ids[i] for i in old.inputs]), tuple([ids[i] for i in old.outputs])
        return Graph(tuple(self.nodes), tuple(self.specs), inputs, outputs, old.literals, tuple(self.sources))

    def _needs(self, i: int) -> tuple[int, ...]:
        k = self.region_of.get(i)
        return self.old.nodes[i][1] if k is None else self.bodies[k].inputs

    def _find_outputs(self) -> None:
        """Tell each region which of its nodes others ask for."""
        asked: set[int] = set()
        stack = list(self.old.outputs)
        while stack:
            i = stack.pop()
            if i not in asked:
                asked.add(i)
                stack += self._needs(i)
        for k, members in enumerate(self.regions):
            self.bodies[k].outputs = [i for i in members if i in asked]

    def _emit(self, i: int) -> None:
        """Append a node, or its region, after everything it needs."""
        new, nodes = self.new_ids, self.old.nodes
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
            if k is None:
                op, inputs, attrs = nodes[i]
                self._append((op, tuple([new[j] for j in inputs]), attrs), self.old.specs[i], i)
            else:
                self._append_region(self.bodies[k])

    def _append(self, node: RawNode, spec: Any, old: int) -> int:
        source = self.old.sources[old]
        if source is not None and source[2] >= 0:
            # What a node is the gradient of may be inside of a region; the node stays one of a gradient.
            source = (source[0], source[1], self.new_ids.get(source[2], len(self.nodes)))
        self.nodes.append(node)
        self.specs.append(spec)
        self.sources.append(source)
        self.new_ids[old] = len(self.nodes) - 1
        return len(self.nodes) - 1

    def _append_region(self, body: _Body) -> None:
        region = body.graph()
        specs = region.output_specs()
        region = self.known.setdefault(region, region)  # so that who compares it with the others need not look inside
        node: RawNode = (REGION, tuple([self.new_ids[j] for j in body.inputs]), (region,))
        parent = self._append(node, specs if len(specs) > 1 else specs[0], body.outputs[-1])
        if len(specs) > 1:
            for item, i in enumerate(body.outputs):
                self._append((ITEM, (parent,), (item,)), specs[item], i)


@final
class _Body:
    """One region as a graph of its own."""

    def __init__(self, old: Graph, members: list[int], free: dict[int, tuple[int, ...]], crossing: set[int]) -> None:
        self.old = old
        #: Ids in the old graph.
        self.outputs: list[int] = []
        self._order = self._with_free(members, free)
        nodes = old.nodes
        read = dict.fromkeys([j for i in self._order for j in nodes[i][1]])
        for i in self._order:
            read.pop(i, None)
        #: What the region takes for what it reads: a view that crosses is made inside, of an input of its own.
        self._read = [j for j in read if nodes[j][0] is not LITERAL]
        self._crossing = crossing.intersection(self._read)
        self.inputs = tuple([nodes[j][1][0] if j in self._crossing else j for j in self._read])

    def _with_free(self, members: list[int], free: dict[int, tuple[int, ...]]) -> list[int]:
        """Return the members and, of nodes that cost nothing, those that they need; in order."""
        nodes = self.old.nodes
        found = set(members)
        stack = list(members)
        while stack:
            for j in nodes[stack.pop()][1]:
                if j in free and j not in found and nodes[j][0] is not LITERAL:
                    found.add(j)
                    stack.append(j)
        return sorted(found)

    def graph(self) -> Graph:
        """Return the region's graph."""
        old = self.old
        ids = {j: k for k, j in enumerate(self._read)}
        specs = [old.specs[j] for j in self.inputs]
        nodes: list[RawNode] = [(INPUT, (), (spec.strong(),)) for spec in specs]
        for j in sorted(self._crossing):
            op, _, attrs = old.nodes[j]
            nodes.append((op, (ids[j],), attrs))
            specs.append(old.specs[j])
            ids[j] = len(nodes) - 1
        literals: list[Any] = []
        for i in self._order:
            op, inputs, attrs = old.nodes[i]
            for j in inputs:
                if j not in ids:  # a literal
                    spec, slot = old.nodes[j][2]
                    ids[j] = len(nodes)
                    nodes.append((LITERAL, (), (spec, len(literals))))
                    specs.append(old.specs[j])
                    literals.append(old.literals[slot])
            ids[i] = len(nodes)
            nodes.append((op, tuple([ids[j] for j in inputs]), attrs))
            specs.append(old.specs[i])
        outputs = tuple([ids[i] for i in self.outputs])
        return Graph(tuple(nodes), tuple(specs), tuple(range(len(self.inputs))), outputs, tuple(literals))
