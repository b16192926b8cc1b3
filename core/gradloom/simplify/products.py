"""Products: many small products of matrices merged into one large product.

Two patterns, both of loops that were unrolled. Where a gradient adds up products of matrices over
the steps, ``A1 @ B1 + A2 @ B2 + ...``, it is one product of concatenations along the summed
axis; so are sums over rows, ``sum(B1, 0) + sum(B2, 0) + ...``. Where values that do not depend on
each other are multiplied by one matrix, ``x1 @ W``, ``x2 @ W``, ..., they are rows of one product.

The merged result rounds in another order, within n eps of the sum of absolute values, n being
the number of terms added up. Merged is only what pays by `gradloom.cost`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, final

from gradloom.cost import Cost
from gradloom.graph import Graph
from gradloom.op import Op, ops
from gradloom.simplify.builder import Builder, Replacement, count_uses, replace_nodes
from gradloom.simplify.views import slice_run, whole

#: Groups of products with one matrix that are looked at: those with the most members.
MAX_GROUPS = 64
#: Bytes that are put together at most, so that they stay in the cache; longer sums become several products.
JOINED_BYTES = 2**21
#: What a slice costs; it moves nothing.
SLICE_SECONDS = 2e-7


def product_ops() -> frozenset[Op]:
    """Return the ops that multiply matrices."""
    return frozenset([ops["matmul"], ops["annihilating_matmul"]])


def has_products(graph: Graph) -> bool:
    """Return whether there are two products of matrices to merge."""
    products = product_ops()
    return sum([node[0] in products for node in graph.nodes]) > 1


def merge_products(graph: Graph, g: Builder) -> tuple[Graph, list[int]] | None:
    """Merge products of matrices where that pays.

    Returns
    -------
    (Graph, list of int) or None
        What comes out of the builder, and which node each of its nodes was made for.
    """
    sums = merged_sums(graph)
    terms = {node for merged in sums for node in merged.merged()}
    products = shared_products(graph, terms)
    replacements: dict[int, Replacement] = {merged.root: merged for merged in sums}
    replacements |= {m.node: MergedProduct(product, m.node) for product in products for m in product.members}
    if not replacements:
        return None
    gone = terms.union(*[merged.inner for merged in sums])
    order = order_with(graph, products) if products else range(len(graph))
    return replace_nodes(graph, g, replacements, [i for i in order if i not in gone])


def _product_seconds(m: int, k: int, n: int, itemsize: int) -> float:
    return Cost(2.0 * m * k * n, float(itemsize * (m * k + k * n + m * n)), blas=True).seconds()


def _moved_seconds(itemsize: int, *sizes: int) -> float:
    return Cost(0.0, float(itemsize * sum(sizes))).seconds()


# -- sums of products ------------------------------------------------------------------------


class ProductTerm(NamedTuple):
    """A product of two matrices; where ``transposed``, its left factor is the transpose of ``left``."""

    node: int
    left: int
    transposed: bool
    right: int


class RowsTerm(NamedTuple):
    """A sum over the rows of a matrix."""

    node: int
    rows: int


@final
class MergedSum:
    """Stands for a sum of terms, some of which are merged by groups."""

    def __init__(self, graph: Graph, root: int, leaves: list[int], inner: list[int]) -> None:
        self.graph = graph
        self.root = root
        self.leaves = leaves
        #: The additions before the last one.
        self.inner = inner
        self.products: list[tuple[Any, list[ProductTerm]]] = []
        self.rows: list[list[RowsTerm]] = []

    def collect(self, uses: list[int]) -> None:
        """Group the terms that fit together and are used nowhere else."""
        graph = self.graph
        specs = graph.specs
        matrices = product_ops()
        products: dict[Any, list[ProductTerm]] = {}
        rows: list[RowsTerm] = []
        for leaf in self.leaves:
            op, inputs, attrs = graph.nodes[leaf]
            if uses[leaf] > 1:
                continue
            if op in matrices and specs[inputs[0]].ndim == specs[inputs[1]].ndim == 2:
                left, right = inputs
                transposed = graph.nodes[left][0] is ops["transpose"]
                if transposed:
                    left = graph.nodes[left][1][0]
                products.setdefault((op, attrs, transposed), []).append(ProductTerm(leaf, left, transposed, right))
            elif op is ops["sum"] and attrs == ((0,), False):
                matrix = specs[inputs[0]]
                if matrix.ndim == 2 and matrix.dtype == specs[leaf].dtype:
                    rows.append(RowsTerm(leaf, inputs[0]))
        self.products = [(key, block) for key, terms in products.items() for block in self._blocks(terms, "right")]
        self.rows = self._blocks(rows, "rows")

    def _blocks(self, terms: list[Any], name: str) -> list[list[Any]]:
        """Cut terms into blocks of at most `JOINED_BYTES`, the same for equal values."""
        blocks: list[list[Any]] = []
        room = 0
        for term in terms:
            size = self.graph.specs[getattr(term, name)].nbytes
            if size > room or not blocks:
                blocks.append([])
                room = JOINED_BYTES
            blocks[-1].append(term)
            room -= size
        return [block for block in blocks if len(block) > 1]

    def keep_paying(self, shared: set[tuple[int, ...]]) -> None:
        """Drop the products that do not pay; add the concatenations of those that do to ``shared``."""
        self.products = [(key, terms) for key, terms in self.products if self._product_pays(terms)]
        for _, terms in self.products:
            shared.add(tuple([t.right for t in terms]))
            if terms[0].transposed:
                shared.add(tuple([t.left for t in terms]))

    def keep_paying_rows(self, shared: set[tuple[int, ...]]) -> None:
        """Drop the sums over rows that do not pay, given the concatenations there will be."""
        self.rows = [terms for terms in self.rows if self._rows_pay(terms, shared)]

    def _product_pays(self, terms: list[ProductTerm]) -> bool:
        specs = self.graph.specs
        m, n = specs[self.root].shape
        size = specs[self.root].dtype.itemsize
        lengths = [specs[t.right].shape[0] for t in terms]
        add = _moved_seconds(size, m * n, m * n, m * n)
        apart = sum([_product_seconds(m, k, n, size) + add for k in lengths]) - add
        total = sum(lengths)
        joined = _product_seconds(m, total, n, size) + _moved_seconds(size, 2 * total * n)
        lefts = [t.left for t in terms]
        if not (terms[0].transposed and slice_run(self.graph, lefts)):
            joined += _moved_seconds(size, 2 * total * m)
        return joined < apart

    def _rows_pay(self, terms: list[RowsTerm], shared: set[tuple[int, ...]]) -> bool:
        specs = self.graph.specs
        n, size = specs[self.root].size, specs[self.root].dtype.itemsize
        lengths = [specs[t.rows].shape[0] for t in terms]
        apart = sum([_moved_seconds(size, k * n, n) + _moved_seconds(size, 3 * n) for k in lengths])
        joined = _moved_seconds(size, sum(lengths) * n, n)
        if tuple([t.rows for t in terms]) not in shared:
            joined += _moved_seconds(size, 2 * sum(lengths) * n)
        return joined < apart

    def __bool__(self) -> bool:
        return bool(self.products or self.rows)

    def merged(self) -> set[int]:
        """Return the terms that are merged."""
        return {t.node for _, terms in self.products for t in terms} | {t.node for terms in self.rows for t in terms}

    def __call__(self, g: Builder, new: list[int]) -> int:
        """Add the merged terms, then those that stay, to a builder."""
        spec = self.graph.specs[self.root]
        merged = self.merged()
        parts = [self._product(g, new, key, terms) for key, terms in self.products]
        for rows in self.rows:
            joined = concatenated(g, [new[t.rows] for t in rows], 0)
            parts.append(g.place(ops["sum"], (joined,), ((0,), False), spec))
        parts += [new[leaf] for leaf in self.leaves if leaf not in merged]
        total = parts[0]
        for part in parts[1:]:
            total = g.place(ops["add"], (total, part), (), spec)
        return total

    def _product(self, g: Builder, new: list[int], key: Any, terms: list[ProductTerm]) -> int:
        op, attrs, transposed = key
        lefts = [new[t.left] for t in terms]
        left = concatenated(g, lefts, 0 if transposed else 1)
        if transposed:
            left = g.emit("transpose", (left,), (1, 0))
        right = concatenated(g, [new[t.right] for t in terms], 0)
        return g.place(op, (left, right), attrs, self.graph.specs[self.root])


def concatenated(g: Builder, parts: list[int], axis: int) -> int:
    """Return a node of parts put together along an axis."""
    return g.emit("concatenate", tuple(parts), axis)


def merged_sums(graph: Graph) -> list[MergedSum]:
    """Find the sums of products of matrices that pay as one."""
    uses = count_uses(graph)
    found = []
    for root, leaves, inner in _sums(graph, uses):
        merged = MergedSum(graph, root, leaves, inner)
        merged.collect(uses)
        found.append(merged)
    shared: set[tuple[int, ...]] = set()
    for merged in found:
        merged.keep_paying(shared)
    for merged in found:
        merged.keep_paying_rows(shared)
    return [merged for merged in found if merged]


def _sums(graph: Graph, uses: list[int]) -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield each sum as its last addition, its terms in the order of time, and the other additions.

    Gradients add up from the last step of a loop to the first.
    """
    nodes, specs = graph.nodes, graph.specs
    add = ops["add"]
    inside = bytearray(len(nodes))
    for root in range(len(nodes) - 1, -1, -1):
        if nodes[root][0] is not add or inside[root] or specs[root].dtype.kind not in "fc":
            continue
        if specs[root].ndim not in (1, 2):
            continue
        leaves: list[int] = []
        inner: list[int] = []
        stack = list(reversed(nodes[root][1]))
        while stack:
            j = stack.pop()
            if nodes[j][0] is add and uses[j] == 1 and specs[j] is specs[root]:
                inside[j] = 1
                inner.append(j)
                stack += reversed(nodes[j][1])
            else:
                leaves.append(j)
        if len(leaves) > 1 and all([specs[j] is specs[root] for j in leaves]):
            source = graph.sources[root]
            if source is not None and source[2] >= 0:
                leaves.reverse()
            yield root, leaves, inner


# -- products with one matrix ------------------------------------------------------------------


class Member(NamedTuple):
    """A product of ``rows`` with the matrix of its group."""

    node: int
    rows: int


@final
class SharedProduct:
    """Products of rows, none of which depends on another, with one matrix.

    The key says how: (op, attrs, matrix, its side, rank of the rows).
    """

    def __init__(self, graph: Graph, key: Any, members: list[Member]) -> None:
        self.graph = graph
        self.op, self.attrs, self.matrix, self.side, self.rank = key
        self.members = members
        self._product: int | None = None
        starts = [0]
        for member in members:
            starts.append(starts[-1] + self._length(member.rows))
        self._starts = {m.node: start for m, start in zip(members, starts, strict=False)}
        self._total = starts[-1]

    def _length(self, rows: int) -> int:
        return int(self.graph.specs[rows].shape[0]) if self.rank == 2 else 1

    def pays(self) -> bool:
        """Return whether one product and a slice for each member cost less than the products."""
        spec = self.graph.specs[self.matrix]
        k, n = spec.shape if self.side == "right" else reversed(spec.shape)
        size = spec.dtype.itemsize
        rows = [m.rows for m in self.members]
        apart = sum([_product_seconds(self._length(j), k, n, size) for j in rows])
        joined = _product_seconds(self._total, k, n, size) + SLICE_SECONDS * len(rows)
        if not slice_run(self.graph, rows):
            joined += _moved_seconds(size, 2 * self._total * k)
        return joined < apart

    def rows_of(self, g: Builder, new: list[int], node: int) -> int:
        """Return the rows of the one product that stand for one of the products."""
        if self._product is None:
            self._product = self._build(g, new)
        start = self._starts[node]
        spec = self.graph.specs[node]
        entry = start if self.rank == 1 else ("slice", start, start + spec.shape[0], 1)
        return g.place(ops["getitem"], (self._product,), ((entry, whole(spec.shape[-1])),), spec)

    def _build(self, g: Builder, new: list[int]) -> int:
        rows = [new[m.rows] for m in self.members]
        if self.rank == 1:
            rows = [g.emit("reshape", (j,), (1, *g.specs[j].shape)) for j in rows]
        matrix = new[self.matrix]
        attrs = self.attrs
        if self.side == "left":
            # W @ x is the row x @ W^T, and the factors change places.
            matrix = g.emit("transpose", (matrix,), (1, 0))
            attrs = tuple([1 - zeros for zeros in attrs])
        return g.emit(self.op.name, (concatenated(g, rows, 0), matrix), *attrs)


@final
class MergedProduct:
    """Stands for one of the products that are merged."""

    def __init__(self, product: SharedProduct, node: int) -> None:
        self.product = product
        self.node = node

    def __call__(self, g: Builder, new: list[int]) -> int:
        """Add the rows of the one product, and that before its first use."""
        return self.product.rows_of(g, new, self.node)


def shared_products(graph: Graph, merged: set[int]) -> list[SharedProduct]:
    """Find products with one matrix that pay as one, and leave the graph without cycles.

    Not those in ``merged``, which are gone.
    """
    groups: dict[Any, list[Member]] = {}
    products = product_ops()
    for i, (op, inputs, attrs) in enumerate(graph.nodes):
        if op in products and graph.specs[i].dtype.kind == "f" and i not in merged:
            a, b = inputs
            rank_a, rank_b = graph.specs[a].ndim, graph.specs[b].ndim
            if rank_b == 2 and rank_a <= 2:
                groups.setdefault((op, attrs, b, "right", rank_a), []).append(Member(i, a))
            elif rank_a == 2 and rank_b == 1:
                groups.setdefault((op, attrs, a, "left", 1), []).append(Member(i, b))
    several = [(key, members) for key, members in groups.items() if len(members) > 1]
    several = sorted(several, key=_fewest_members)[:MAX_GROUPS]
    if not several:
        return []
    independent, behind = _independent(graph, [members for _, members in several])
    found: list[SharedProduct] = []
    reach: dict[int, int] = {}
    for bit, (key, _) in enumerate(several):
        members = independent[bit]
        product = SharedProduct(graph, key, members) if len(members) > 1 else None
        if product is not None and product.pays() and not _closes_cycle(bit, behind, reach):
            reach[bit] = behind[bit]
            found.append(product)
    return found


def _fewest_members(group: tuple[Any, list[Member]]) -> int:
    return -len(group[1])


def _independent(graph: Graph, groups: list[list[Member]]) -> tuple[list[list[Member]], list[int]]:
    """Return the members of each group that depend on no other, and the groups that they depend on, as bits."""
    bit_of = {m.node: (bit, m) for bit, members in enumerate(groups) for m in members}
    kept: list[list[Member]] = [[] for _ in groups]
    behind = [0] * len(groups)
    depends = [0] * len(graph.nodes)
    for i, (_, inputs, _) in enumerate(graph.nodes):
        bits = 0
        for j in inputs:
            bits |= depends[j]
        if i in bit_of:
            bit, member = bit_of[i]
            if not bits >> bit & 1:
                kept[bit].append(member)
                behind[bit] |= bits
                bits |= 1 << bit
        depends[i] = bits
    return kept, behind


def _closes_cycle(bit: int, behind: list[int], accepted: dict[int, int]) -> bool:
    """Return whether a group depends on itself through groups that are merged already."""
    seen = 0
    todo = [other for other in accepted if behind[bit] >> other & 1]
    while todo:
        other = todo.pop()
        if accepted[other] >> bit & 1:
            return True
        seen |= 1 << other
        todo += [next_ for next_ in accepted if accepted[other] >> next_ & 1 and not seen >> next_ & 1]
    return False


def order_with(graph: Graph, products: list[SharedProduct]) -> list[int]:
    """Return nodes in an order in which the rows of all members come before each member."""
    group_of = {m.node: k for k, product in enumerate(products) for m in product.members}
    ready = [False] * len(products)
    done = bytearray(len(graph.nodes))
    order: list[int] = []
    for i in range(len(graph.nodes)):
        stack = [i]
        while stack:
            j = stack[-1]
            if done[j]:
                stack.pop()
                continue
            k = group_of.get(j)
            needed: Any = graph.nodes[j][1]
            if k is not None and not ready[k]:
                needed = (products[k].matrix, *[m.rows for m in products[k].members])
            missing = [d for d in needed if not done[d]]
            if missing:
                stack += reversed(missing)
                continue
            if k is not None:
                ready[k] = True
            done[j] = 1
            order.append(j)
            stack.pop()
    return order
