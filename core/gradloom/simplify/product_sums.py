"""Sums of products of matrices: ``A1 @ B1 + A2 @ B2 + ...`` as one product of concatenations."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple, final

from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.simplify.builder import Builder, count_uses
from gradloom.simplify.joining import concatenated, moved_seconds, product_ops, product_seconds
from gradloom.simplify.views import slice_run
from gradloom.symbolic import decide, of_runs, runs

#: Bytes that are put together, so that they stay in the cache, half as many more at most; longer sums become several
#: products.
JOINED_BYTES = 2**21


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
        """Collect the groups of terms that fit together and are used nowhere else."""
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
        self.products = list(products.items())
        self.rows = [rows]

    def runs(self) -> list[tuple[int, ...]]:
        """Return what each group would put together."""
        joined = [[t.right for t in terms] for _, terms in self.products]
        return [
            tuple(nodes) for nodes in (*joined, *[[t.rows for t in terms] for terms in self.rows]) if len(nodes) > 1
        ]

    def cut(self, runs: list[tuple[int, ...]]) -> None:
        """Cut the groups into blocks; first where ``runs`` of other sums begin and end.

        A sum that has one step more than another puts together what the other does, and adds that step apart.
        """
        self.products = [
            (key, block)
            for key, terms in self.products
            for part in _parts(terms, "right", runs)
            for block in self._blocks(part, "right")
        ]
        self.rows = [
            block for terms in self.rows for part in _parts(terms, "rows", runs) for block in self._blocks(part, "rows")
        ]

    def _blocks(self, terms: list[Any], name: str) -> list[list[Any]]:
        """Cut terms into blocks of about `JOINED_BYTES`, the same for equal values."""
        starts = decide(_block_starts, *runs([self.graph.specs[getattr(term, name)].nbytes for term in terms]))
        blocks = [terms[start:stop] for start, stop in pairwise((*starts, len(terms)))]
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
        is_run = terms[0].transposed and slice_run(self.graph, [t.left for t in terms]) is not None
        lengths = runs([specs[t.right].shape[0] for t in terms])
        return bool(decide(_product_pays, *specs[self.root].shape, specs[self.root].dtype.itemsize, is_run, *lengths))

    def _rows_pay(self, terms: list[RowsTerm], shared: set[tuple[int, ...]]) -> bool:
        root, lengths = self.graph.specs[self.root], runs([self.graph.specs[t.rows].shape[0] for t in terms])
        is_joined = tuple([t.rows for t in terms]) in shared
        return bool(decide(_rows_pay, root.size, root.dtype.itemsize, is_joined, *lengths))

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


def _block_starts(*sizes: int) -> tuple[int, ...]:
    """Return where blocks of about `JOINED_BYTES` begin, given `runs` of the bytes of what is put together.

    These are rounded to powers of two, so that most graphs that differ in sizes alone have the same blocks: those with
    the last few samples too, and those of sizes around a power of two.
    """
    starts = []
    first, room = 0, -1
    for own, times in of_runs(sizes):
        size = _near_power_of_two(own)
        for k in range(first, first + times):
            if size > room:
                starts.append(k)
                room = JOINED_BYTES
            room -= size
        first += times
    return tuple(starts)


def _near_power_of_two(n: int) -> int:
    """Return the power of two that is nearest by ratio."""
    bits = max(n, 1).bit_length()
    return 1 << (bits - (n * n < 1 << (2 * bits - 1)))


def _product_pays(m: int, n: int, itemsize: int, is_run: bool, *lengths: int) -> bool:
    """Return whether one product takes less than several, given `runs` of their lengths.

    ``is_run`` says whether left factors lie together.
    """
    total = sum([k * times for k, times in of_runs(lengths)])
    add = moved_seconds(itemsize, m * n, m * n, m * n)
    apart = sum([(product_seconds(m, k, n, itemsize) + add) * times for k, times in of_runs(lengths)]) - add
    joined = product_seconds(m, total, n, itemsize) + moved_seconds(itemsize, 2 * total * n)
    if not is_run:
        joined += moved_seconds(itemsize, 2 * total * m)
    return joined < apart


def _rows_pay(n: int, itemsize: int, is_joined: bool, *lengths: int) -> bool:
    """Return whether one sum over rows takes less than several, given `runs` of how many rows each has."""
    total = sum([k * times for k, times in of_runs(lengths)])
    add = moved_seconds(itemsize, 3 * n)
    apart = sum([(moved_seconds(itemsize, k * n, n) + add) * times for k, times in of_runs(lengths)])
    joined = moved_seconds(itemsize, total * n, n)
    if not is_joined:
        joined += moved_seconds(itemsize, 2 * total * n)
    return joined < apart


def merged_sums(graph: Graph) -> list[MergedSum]:
    """Find the sums of products of matrices that pay as one."""
    uses = count_uses(graph)
    found = []
    for root, leaves, inner in _sums(graph, uses):
        merged = MergedSum(graph, root, leaves, inner)
        merged.collect(uses)
        found.append(merged)
    runs = sorted({run for merged in found for run in merged.runs()}, key=len, reverse=True)
    for merged in found:
        merged.cut(runs)
    shared: set[tuple[int, ...]] = set()
    for merged in found:
        merged.keep_paying(shared)
    for merged in found:
        merged.keep_paying_rows(shared)
    return [merged for merged in found if merged]


def _parts(terms: list[Any], name: str, runs: list[tuple[int, ...]]) -> list[list[Any]]:
    """Cut terms before and after the longest run within them, if it has most of them."""
    nodes = tuple([getattr(term, name) for term in terms])
    for run in runs:
        if run[0] in nodes and len(nodes) < 2 * len(run) < 2 * len(nodes):
            start = nodes.index(run[0])
            stop = start + len(run)
            if nodes[start:stop] == run:
                return [terms[:start], terms[start:stop], terms[stop:]]
    return [terms]


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
