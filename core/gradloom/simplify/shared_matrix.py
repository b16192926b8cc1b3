"""Products with one matrix: ``x1 @ W``, ``x2 @ W``, ... as the rows of one product."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple, final

from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.simplify.builder import Builder
from gradloom.simplify.joining import concatenated, moved_seconds, product_ops, product_seconds
from gradloom.simplify.views import slice_run
from gradloom.spec import WHOLE
from gradloom.symbolic import decide, of_runs, runs

#: Groups of products with one matrix that are looked at: those with the most members.
MAX_GROUPS = 64
#: What a slice costs; it moves nothing.
SLICE_SECONDS = 2e-7


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
        lengths = [self._length(m.rows) for m in members]
        #: Whether all members have as many rows: then the product is a stack, and no size says where theirs stand.
        self._is_stack = all([n == lengths[0] for n in lengths])
        starts = range(len(members)) if self._is_stack else accumulate(lengths, initial=0)
        self._starts = {m.node: start for m, start in zip(members, starts, strict=False)}

    def _length(self, rows: int) -> int:
        length: int = self.graph.specs[rows].shape[0] if self.rank == 2 else 1
        return length

    def pays(self) -> bool:
        """Return whether one product and a slice for each member cost less than the products."""
        spec = self.graph.specs[self.matrix]
        k, n = spec.shape if self.side == "right" else reversed(spec.shape)
        rows = [m.rows for m in self.members]
        is_run = slice_run(self.graph, rows) is not None
        return bool(decide(_pays, k, n, spec.dtype.itemsize, is_run, *runs(list(map(self._length, rows)))))

    def rows_of(self, g: Builder, new: list[int], node: int) -> int:
        """Return the rows of the one product that stand for one of the products."""
        if self._product is None:
            self._product = self._build(g, new)
        start = self._starts[node]
        spec = self.graph.specs[node]
        index = (start, *[WHOLE] * spec.ndim) if self._is_stack else (("slice", start, start + spec.shape[0], 1), WHOLE)
        return g.place(ops["getitem"], (self._product,), (index,), spec)

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
        product = g.emit(self.op.name, (concatenated(g, rows, 0), matrix), *attrs)
        if self.rank == 2 and self._is_stack:
            product = g.emit("reshape", (product,), (len(rows), *self.graph.specs[self.members[0].node].shape))
        return product


def _pays(k: int, n: int, itemsize: int, is_run: bool, *lengths: int) -> bool:
    members = sum([times for _, times in of_runs(lengths)])
    total = sum([m * times for m, times in of_runs(lengths)])
    apart = sum([product_seconds(m, k, n, itemsize) * times for m, times in of_runs(lengths)])
    joined = product_seconds(total, k, n, itemsize) + SLICE_SECONDS * members
    if not is_run:
        joined += moved_seconds(itemsize, 2 * total * k)
    return joined < apart


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
        if i not in group_of and not done[i]:  # what it reads stands before it
            done[i] = 1
            order.append(i)
            continue
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
