"""Optimism: multiply plainly where a NaN in the result would show that it was wrong.

`annihilating_multiply` differs from `multiply` only where the plain product is NaN. Where
everything downstream passes NaN on, it is enough to look at the outputs: no NaN there means
that the plain products were right, and a run with a NaN is repeated with the careful op.
"""

from __future__ import annotations

from typing import NamedTuple

from gradloom.graph import Graph, live_nodes
from gradloom.op import ops

#: Ops whose output elements are NaN if an input element they depend on is.
PASS_NAN_ON = frozenset(
    {
        *("add", "subtract", "multiply", "annihilating_multiply", "divide", "negative", "positive"),
        *("square", "sqrt", "reciprocal", "sin", "cos", "tanh", "exp", "log", "conjugate", "sum", "matmul"),
        *("reshape", "broadcast_to", "transpose", "concatenate", "flip", "where", "stop_gradient"),
        *("getitem", "gather", "index_add", "take_along_axis", "add_along_axis"),
    }
)


class Optimistic(NamedTuple):
    """A graph with plain products, and the positions of the outputs to look at for NaN."""

    graph: Graph
    checked: tuple[int, ...]


def optimistic_graph(graph: Graph) -> Optimistic | None:
    """Return the graph with plain products wherever the outputs would show a NaN.

    Returns
    -------
    Optimistic or None
        None if there is nothing to gain.
    """
    nodes = graph.nodes
    careful, plain = ops["annihilating_multiply"], ops["multiply"]
    live = live_nodes(nodes, graph.outputs)
    # For scalars the careful product costs next to nothing.
    replaced = [i for i, n in enumerate(nodes) if n[0] is careful and live[i] and graph.specs[i].shape]
    if not replaced:
        return None
    shows = bytearray(b"\1" * len(nodes))
    for i in range(len(nodes) - 1, -1, -1):
        op, inputs, _ = nodes[i]
        if live[i] and not (shows[i] and op.name in PASS_NAN_ON):
            for j in inputs:
                shows[j] = 0
    new_nodes = list(nodes)
    suspect = bytearray(len(nodes))
    for i in replaced:
        if shows[i]:
            new_nodes[i] = (plain, *nodes[i][1:])
            suspect[i] = 1
    for i, (_, inputs, _) in enumerate(nodes):
        if not suspect[i] and any([suspect[j] for j in inputs]):
            suspect[i] = 1
    checked = tuple([k for k, i in enumerate(graph.outputs) if suspect[i]])
    if not checked:
        return None
    specs, sources = graph.specs, graph.sources
    return Optimistic(Graph(tuple(new_nodes), specs, graph.inputs, graph.outputs, graph.literals, sources), checked)
