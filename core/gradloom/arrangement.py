"""Arrangement: a graph as it is planned, cut into regions and in the order in which it runs."""

from __future__ import annotations

from collections.abc import Collection

from gradloom.compiler import AbstractCompiler
from gradloom.graph import INPUT, LITERAL, Graph, live_nodes
from gradloom.order import economical_order
from gradloom.partition import partition
from gradloom.placement import MOVES

#: Bytes up to which a value that depends on literals alone is computed when a plan is made.
FOLD_LIMIT = 4096


def arrange(graph: Graph, compiler: AbstractCompiler, elsewhere: Collection[int] = ()) -> Graph:
    """Return a graph cut into regions, its nodes in the order in which they run.

    Parameters
    ----------
    graph : Graph
    compiler : AbstractCompiler
        Says which nodes a region may hold.
    elsewhere : collection of int
        Nodes that run on other devices than the compiler's.
    """
    cut = partition(graph, compiler, elsewhere)
    live = live_nodes(cut.nodes, cut.outputs)
    constants: set[int] = set()
    first: list[int] = []
    rest: list[int] = []
    dead: list[int] = []
    for i, (op, _, _) in enumerate(cut.nodes):
        if op is LITERAL or folds(cut, i, constants):
            constants.add(i)
        if op is INPUT or i in constants:
            first.append(i)
        else:
            (rest if live[i] else dead).append(i)
    order = economical_order(cut, rest, {*cut.outputs, *constants})
    return cut.reordered((*first, *order, *dead)) or cut


def folds(graph: Graph, i: int, constants: Collection[int]) -> bool:
    """Return whether a node is computed when a plan is made: it depends on constants alone, and is small or a view."""
    op, inputs, _ = graph.nodes[i]
    spec = graph.specs[i]
    if op is INPUT or op is LITERAL or type(spec) is tuple or not all([j in constants for j in inputs]):
        return False
    return bool(spec.nbytes <= FOLD_LIMIT or (op.view and op not in MOVES))
