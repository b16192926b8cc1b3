"""Replay: record the nodes of a graph again, some of them differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.graph import INPUT, ITEM, LITERAL, Graph
from gradloom.spec import Spec
from gradloom.trace import Abstract, Handle, Trace

Tensor = Any

_UNKNOWN = Abstract("the graph is being transformed")


def replay(
    graph: Graph,
    handle: type[Handle],
    record: Callable[[Trace, int, list[Any]], Any],
    input_spec: Callable[[int], Spec] | None = None,
) -> Graph:
    """Return a graph whose nodes were recorded anew, in order.

    Parameters
    ----------
    graph : Graph
        The nodes to go through.
    handle : type
        The class of tensors.
    record : callable
        ``record(trace, i, args)`` records node ``i``, which is an op, on tensors that stand for
        its inputs, and returns what its output is now (a tuple of tensors for several).
    input_spec : callable, optional
        The spec of each input; by default what it was.

    Returns
    -------
    Graph
        Its inputs and outputs are those of ``graph``, in the same order.
    """
    trace = Trace(handle)
    values: list[Any] = []
    new_ids: list[int] = []
    inputs = dict.fromkeys(graph.inputs, -1)
    for i, (op, args, attrs) in enumerate(graph.nodes):
        source = graph.sources[i]
        if source is not None:
            origin = source[2]
            trace.origin = (source[0], source[1], new_ids[origin] if 0 <= origin < i else -1)
        value: Any
        if op is INPUT:
            spec = graph.specs[i] if input_spec is None else input_spec(i)
            if i in inputs:
                inputs[i] = len(trace.nodes)
                value = trace.add_input(spec, _UNKNOWN)
            else:
                value = trace.tensor(trace.append(INPUT, (), (spec,), spec, None))
        elif op is LITERAL:
            value = trace.tensor(trace.literal(graph.literals[attrs[1]], attrs[0].dtype))
        elif op is ITEM:
            value = values[args[0]][attrs[0]]
        else:
            value = record(trace, i, [values[j] for j in args])
        values.append(value)
        new_ids.append(len(trace.nodes) - 1)
    trace.origin = None
    trace.inputs = list(inputs.values())
    return trace.graph(tuple([values[i]._index for i in graph.outputs]))
