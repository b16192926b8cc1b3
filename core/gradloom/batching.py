"""Batching: the graph of a function of one example as the graph of a batch of them.

Batched values carry the batch axis first. The rule of each op follows from its axis rule:
leading axes broadcast where the notation has an ellipsis; attrs that hold axes are shifted,
those that hold shapes are prefixed; an op that fits neither brings its own rule.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from gradloom.axes import core_ranks
from gradloom.graph import Graph
from gradloom.op import Op, ops
from gradloom.replay import replay
from gradloom.spec import Spec
from gradloom.trace import Handle, Trace

Tensor = Any


def batched_graph(
    graph: Graph, batched: Collection[int], size: int, handle: type[Handle]
) -> tuple[Graph, tuple[bool, ...]]:
    """Return the graph that maps a function over the first axis of some inputs.

    Parameters
    ----------
    graph : Graph
        The function of one example.
    batched : collection of int
        Ids of the inputs that become batches.
    size : int
        Number of examples.

    Returns
    -------
    graph : Graph
        The inputs of ``graph``, batched ones with ``size`` as their first length.
    flags : tuple of bool
        Which outputs are batches; the others do not depend on a batched input.
    """
    flags: list[bool] = []
    for i, (_, args, _) in enumerate(graph.nodes):
        flags.append(i in batched or any([flags[j] for j in args]))

    def record(trace: Trace, i: int, values: list[Any]) -> Any:
        op, args, attrs = graph.nodes[i]
        if flags[i]:
            return _batch(trace, op, values, [flags[j] for j in args], op.attr_dict(attrs), size)
        return trace.bind(op, values, attrs)

    def input_spec(i: int) -> Spec:
        spec = graph.specs[i]
        return Spec((size, *spec.shape), spec.dtype) if flags[i] else spec

    return replay(graph, handle, record, input_spec), tuple([flags[i] for i in graph.outputs])


def _batch(trace: Trace, op: Op, args: list[Tensor], flags: list[bool], attrs: dict[str, Any], size: int) -> Any:
    """Record the batched form of one node."""
    if op.batch is not None:
        return op.batch(size, tuple(flags), *args, **attrs)
    ranks = core_ranks(op, len(args))
    if ranks is not None:
        return op(*_aligned(args, flags, ranks), **attrs)
    if not op.axis_attrs and not op.shape_attrs and op.axes is None:
        raise trace._located(op.missing_rule(0, "batching"), op)
    full = [arg if flag else broadcast(arg, size) for arg, flag in zip(args, flags, strict=True)]
    return op(*full, **_shifted(op, attrs, size))


def _aligned(args: list[Tensor], flags: list[bool], ranks: tuple[int, ...]) -> list[Tensor]:
    """Insert axes of length 1 after the batch axis, so that the other leading axes line up."""
    loops = [arg.ndim - flag - rank for arg, flag, rank in zip(args, flags, ranks, strict=True)]
    most = max(loops)
    return [
        ops["reshape"](arg, shape=(arg.shape[0], *[1] * (most - loop), *arg.shape[1:])) if flag and loop < most else arg
        for arg, flag, loop in zip(args, flags, loops, strict=True)
    ]


def _shifted(op: Op, attrs: dict[str, Any], size: int) -> dict[str, Any]:
    """Return attrs with axes moved behind the batch axis and shapes led by its length."""
    shifted = dict(attrs)
    for name in op.axis_attrs:
        axis = attrs[name]
        shifted[name] = tuple([a + 1 for a in axis]) if isinstance(axis, tuple) else axis + 1
    for name in op.shape_attrs:
        shifted[name] = (size, *attrs[name])
    return shifted


def broadcast(x: Tensor, size: int) -> Tensor:
    """Repeat a value that is not batched along a new first axis."""
    return ops["broadcast_to"](x, shape=(size, *x.shape))


def move_axis(x: Tensor, source: int, target: int) -> Tensor:
    """Move one axis of a tensor."""
    if source == target:
        return x
    axes = [k for k in range(x.ndim) if k != source]
    axes.insert(target, source)
    return ops["transpose"](x, axes=tuple(axes))
