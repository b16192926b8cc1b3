"""Expansion: nodes that hold graphs, written out; for compilers ops that are the same in elementwise ones, too.

Under `jit` the gradient of a function is one node until the graph is simplified: what follows from the function
may be known already from other sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from gradloom.autodiff import gradient_graph
from gradloom.graph import INPUT, ITEM, LITERAL, Graph
from gradloom.op import Op, define, ops
from gradloom.progress import phase
from gradloom.source import RawSource, user_source
from gradloom.spec import Spec
from gradloom.tensor import Tensor
from gradloom.trace import Trace


def inline(trace: Any, graph: Graph, values: Sequence[Any]) -> list[Any]:
    """Record the nodes of a graph in a trace, and return tensors of its outputs."""
    ids: list[int] = [0] * len(graph.nodes)
    for i, value in zip(graph.inputs, values, strict=True):
        ids[i] = trace.home(trace.lift_as(value, graph.specs[i]))
    inputs = frozenset(graph.inputs)
    append = trace.append
    last = moved = None
    for i, ((op, args, attrs), spec, source) in enumerate(zip(graph.nodes, graph.specs, graph.sources, strict=True)):
        if op is LITERAL:
            ids[i] = trace.literal(graph.literals[attrs[1]], attrs[0].dtype)
        elif op is not INPUT:
            if source is not None and source[2] >= 0:
                if source is not last:  # most nodes of a gradient share theirs with the one before
                    last, moved = source, (source[0], source[1], ids[source[2]])
                source = moved
            ids[i] = append(op, tuple(map(ids.__getitem__, args)), attrs, spec, source)
        elif i not in inputs:
            ids[i] = append(op, args, attrs, spec, None)
    return [trace.tensor(ids[i]) for i in graph.outputs]


def _gradient_spec(*inputs: Spec, graph: Graph, wrt: int) -> tuple[Spec, ...]:
    return *graph.output_specs(), *[spec.strong() for spec in graph.input_specs()[:wrt]]


#: The outputs of a function, a graph, and the gradient of the first one, as one node until the graph is simplified.
GRADIENT = define("gradient", spec=_gradient_spec)


def defer_gradient(trace: Trace, graph: Graph, wrt: int, values: Sequence[Any]) -> list[Any]:
    """Record the outputs of a graph and the gradient of the first one by its first inputs; return their tensors."""
    ids = [trace.home(trace.lift_as(v, spec)) for v, spec in zip(values, graph.input_specs(), strict=True)]
    specs = _gradient_spec(graph=graph, wrt=wrt)
    node = trace.append(GRADIENT, tuple(ids), (graph, wrt), specs, user_source())
    return [trace.tensor(trace.append(ITEM, (node,), (k,), spec, None)) for k, spec in enumerate(specs)]


def expand_calls(graph: Graph) -> Graph:
    """Return a graph in which functions with an own pullback are inlined."""
    return expanded(graph, GRADIENT, ops.get("call"))


def expanded(graph: Graph, *kinds: Op | None) -> Graph:
    """Return a graph in which nodes of some ops that hold graphs are written out."""
    while any([op in kinds for op, _, _ in graph.nodes]):
        graph = _written_out(graph, kinds)
    return graph


def fusible(graph: Graph) -> Graph:
    """Return a graph for a compiler, in which ops that have an expansion are that."""
    kinds = frozenset([op for op, _, _ in graph.nodes if op.expansion is not None])
    return _written_out(graph, kinds) if kinds else graph


def _written_out(graph: Graph, kinds: Collection[Op | None]) -> Graph:
    trace = Trace(Tensor)
    ids: list[int] = []
    results: dict[int, list[Any]] = {}
    for i, ((op, inputs, attrs), spec, source) in enumerate(zip(graph.nodes, graph.specs, graph.sources, strict=True)):
        if source is not None and source[2] >= 0:
            source = (source[0], source[1], ids[source[2]] if source[2] < i else -1)
        if op is ITEM and inputs[0] in results:
            ids.append(results[inputs[0]][attrs[0]]._index)
            continue
        if op is LITERAL:
            ids.append(trace.literal(graph.literals[attrs[1]], attrs[0].dtype))
            continue
        own = tuple([ids[j] for j in inputs])
        found = _replacement(trace, op, own, attrs, source) if op in kinds else None
        if found is None:
            ids.append(trace.append(op, own, attrs, spec, source))
        elif type(found) is list:
            results[i] = found
            ids.append(len(trace.nodes) - 1)
        else:
            ids.append(found._index)
    trace.inputs = [ids[i] for i in graph.inputs]
    return trace.graph(tuple([ids[i] for i in graph.outputs]))


def _replacement(
    trace: Trace, op: Op, inputs: tuple[int, ...], attrs: tuple[Any, ...], source: RawSource | None
) -> Any:
    """Record what stands for a node: return the tensor, a list of those of its outputs, or None if it is to stay."""
    tensors = [trace.tensor(j) for j in inputs]
    if op.expansion is None:
        return inline(trace, _held_graph(op, attrs, source), tensors)
    trace.origin = source
    found = op.expansion(*tensors, **op.attr_dict(attrs))
    trace.origin = None
    return found


def _held_graph(op: Op, attrs: tuple[Any, ...], source: RawSource | None) -> Graph:
    """Return the graph that stands for a node that holds one."""
    graph: Graph = attrs[0]
    if op is not GRADIENT:
        return graph
    with phase("differentiating"):
        return gradient_graph(graph, graph.outputs[:1], graph.inputs[: attrs[1]], Tensor, source)
