"""Simplify: from a graph to a smaller graph with the same results.

Dead nodes go, equal nodes become one, and named rules replace a node by something cheaper:
`gradloom.simplify.arithmetic`, `views`, `padding`, `reductions`; `factors` and `products`
merge factorisations and products of matrices.

A rule keeps dtype, NaN, infinities and the sign of zeros. Rules that change the order of
additions say so, and keep within the bound that ops state for it: n eps of the sum of absolute
values, n being the number of terms. Where partial sums overflow, another order may overflow elsewhere.

Simplify what runs, not what is still to be differentiated: `stop_gradient` goes, too.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.simplify.arithmetic import ARITHMETIC
from gradloom.simplify.builder import Builder, RuleTable, rebuild, rule_table
from gradloom.simplify.check import CheckingBuilder
from gradloom.simplify.factors import merge_factors
from gradloom.simplify.padding import PADDING
from gradloom.simplify.products import merge_products
from gradloom.simplify.reductions import REDUCTIONS
from gradloom.simplify.views import view_rules


class Simplified(NamedTuple):
    """A simplified graph, and for each of its nodes the one of the original that it was made for."""

    graph: Graph
    origins: tuple[int, ...]


def simplify(graph: Graph, check: bool = False) -> Graph:
    """Return a smaller graph with the same inputs and results.

    Parameters
    ----------
    graph : Graph
    check : bool, default False
        Run every rewrite before and after on special values, by the NumPy kernels, and raise an
        error that names the rule that broke. Slow.

    Returns
    -------
    Graph
        Nodes keep the user's line of what they stand for. The same graph always gives the
        same result.

    Notes
    -----
    Cost: linear in the number of nodes, a few microseconds each. Values that depend on literals
    alone are computed when a plan is made, not here, but for arithmetic that other rules want to see.
    """
    return simplify_with_origins(graph, check).graph


def simplify_with_origins(graph: Graph, check: bool = False) -> Simplified:
    """Return a smaller graph with the same results, and where its nodes come from."""
    table = known_table(len(ops))
    kind = CheckingBuilder if check else Builder
    graph, origins = rebuild(graph, kind(table))
    for merge in (merge_factors, merge_products):
        merged = merge(graph, kind(table))
        if merged is not None:
            graph, origins = merged[0], [origins[i] for i in merged[1]]
    return Simplified(graph, tuple(origins))


@lru_cache(maxsize=1)
def known_table(count: int) -> RuleTable:
    """Return all rules, for as many ops as there are; plugins add some."""
    return rule_table((*ARITHMETIC, *view_rules(), *PADDING, *REDUCTIONS))
