"""Products: many small products of matrices merged into one large product.

Two patterns, both of loops that were unrolled. Where a gradient adds up products of matrices over
the steps, ``A1 @ B1 + A2 @ B2 + ...``, it is one product of concatenations along the summed
axis; so are sums over rows, ``sum(B1, 0) + sum(B2, 0) + ...``. Where values that do not depend on
each other are multiplied by one matrix, ``x1 @ W``, ``x2 @ W``, ..., they are rows of one product.

The merged result rounds in another order, within n eps of the sum of absolute values, n being
the number of terms added up. Merged is only what pays by `gradloom.cost`.
"""

from __future__ import annotations

from gradloom.graph import Graph
from gradloom.simplify.builder import Builder, Replacement, replace_nodes
from gradloom.simplify.joining import product_ops
from gradloom.simplify.product_sums import merged_sums
from gradloom.simplify.shared_matrix import MergedProduct, order_with, shared_products


def merge_products(graph: Graph, g: Builder) -> tuple[Graph, list[int]] | None:
    """Merge products of matrices where that pays.

    Returns
    -------
    (Graph, list of int) or None
        What comes out of the builder, and which node each of its nodes was made for.
    """
    products = product_ops()
    if sum([node[0] in products for node in graph.nodes]) < 2:
        return None
    sums = merged_sums(graph)
    terms = {node for merged in sums for node in merged.merged()}
    shared = shared_products(graph, terms)
    replacements: dict[int, Replacement] = {merged.root: merged for merged in sums}
    replacements |= {m.node: MergedProduct(product, m.node) for product in shared for m in product.members}
    if not replacements:
        return None
    gone = terms.union(*[merged.inner for merged in sums])
    order = order_with(graph, shared) if shared else range(len(graph))
    return replace_nodes(graph, g, replacements, [i for i in order if i not in gone])
