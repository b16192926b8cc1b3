"""Stage: cut a graph in two where some inputs are known early and the others later."""

from __future__ import annotations

from collections.abc import Sequence

from gradloom.graph import INPUT, LITERAL, Graph, live_nodes


def stage(graph: Graph, early_outputs: int, late: Sequence[int]) -> tuple[Graph, Graph]:
    """Split a graph into what needs only the early inputs, and the rest.

    Parameters
    ----------
    graph : Graph
        Its first ``early_outputs`` outputs do not depend on the late inputs.
    early_outputs : int
    late : sequence of int
        Ids of the late inputs, the last ones of ``graph.inputs``.

    Returns
    -------
    first : Graph
        From the early inputs to the early outputs, followed by the residuals.
    second : Graph
        From the residuals, followed by the late inputs, to the other outputs.

    Notes
    -----
    Views are not residuals: the second graph takes them again from what they show.
    """
    nodes = list(graph.nodes)
    outputs = graph.outputs[early_outputs:]
    live = live_nodes(nodes, outputs)
    depends = bytearray(len(nodes))
    for i in late:
        depends[i] = 1
    needed = list(outputs)
    for i, (_, inputs, _) in enumerate(nodes):
        if any(depends[j] for j in inputs):
            depends[i] = 1
            if live[i]:
                needed += inputs
    residuals: list[int] = []
    seen: set[int] = set()
    while needed:
        i = needed.pop()
        if i in seen or depends[i] or nodes[i][0] is LITERAL:
            continue
        seen.add(i)
        if nodes[i][0].view:
            needed += nodes[i][1]
        else:
            residuals.append(i)
    residuals.sort()
    first = Graph(
        graph.nodes,
        graph.specs,
        graph.inputs[: len(graph.inputs) - len(late)],
        (*graph.outputs[:early_outputs], *residuals),
        graph.literals,
        graph.sources,
    )
    for i in residuals:
        nodes[i] = (INPUT, (), (graph.specs[i],))
    second = Graph(tuple(nodes), graph.specs, (*residuals, *late), outputs, graph.literals, graph.sources)
    return first, second
