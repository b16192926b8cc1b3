"""Ops that the user steers gradients with: `stop_gradient`, and calls with an own pullback."""

from __future__ import annotations

from typing import Any

from gradloom.autodiff import pullback_graph
from gradloom.batching import batched_graph, broadcast
from gradloom.errors import LostGradientError
from gradloom.expansion import inline
from gradloom.graph import Graph
from gradloom.op import define, ops
from gradloom.spec import Spec
from gradloom.trace import resume

Tensor = Any


def stop_gradient_spec(x: Spec) -> Spec:
    return x


#: The identity, with a derivative of zero.
stop_gradient = define("stop_gradient", spec=stop_gradient_spec, elementwise=True, zero_derivative=True, view=True)


def call_spec(*args: Spec, forward: Graph, pullback: Graph, count: int) -> tuple[Spec, ...]:
    return forward.output_specs()


def call_pullbacks(
    arguments: list[int], cotangents: Any, outs: Any, *args: Tensor, forward: Graph, pullback: Graph, count: int
) -> list[Tensor]:
    # ``forward`` returns the user's outputs followed by the residuals that ``pullback`` takes
    # before the cotangents. Residuals are computed by ordinary ops: what reaches them (in
    # higher orders, where the pullback itself is differentiated) goes back through these.
    trace = args[0]._trace
    results = inline(trace, pullback, [*outs[count:], *cotangents[:count]])
    if arguments[-1] >= len(results):
        raise closed_over()
    live = [k for k in range(count, len(outs)) if outs[k].spec.inexact and not _is_zero(cotangents[k])]
    if not live:
        return [results[k] for k in arguments]
    residuals = Graph(
        forward.nodes,
        forward.specs,
        forward.inputs,
        tuple([forward.outputs[k] for k in live]),
        forward.literals,
        forward.sources,
    )
    derived = pullback_graph(residuals, [forward.inputs[k] for k in arguments], type(args[0]))
    more = inline(trace, derived, [*args, *[cotangents[k] for k in live]])[len(live) :]
    return [results[k] + part for k, part in zip(arguments, more, strict=True)]


def closed_over() -> LostGradientError:
    """Return the error for a tensor that a function with an own pullback closes over."""
    return LostGradientError(
        "the function closes over a tensor that is being differentiated",
        op="custom_gradient",
        argument="f",
        expected="a function that gets what is differentiated as an argument",
        got="one that closes over it",
        remedy="pass it as an argument, or wrap it in gl.stop_gradient",
    )


def _is_zero(x: Tensor) -> bool:
    """Return whether a tensor is a literal zero, broadcast perhaps."""
    op, inputs, _ = x._trace.nodes[x._index]
    number = x._trace.static(inputs[0] if op.name == "broadcast_to" else x._index)
    return number is not None and bool(number == 0)


def call_batch(
    size: int, batched: tuple[bool, ...], *args: Tensor, forward: Graph, pullback: Graph, count: int
) -> tuple[Tensor, ...]:
    handle = type(args[0])
    mapped = [i for i, flag in zip(forward.inputs, batched, strict=True) if flag]
    outputs, flags = batched_graph(forward, mapped, size, handle)
    trace = resume(outputs, handle)
    outs = [trace.tensor(i) for i in outputs.outputs]
    outs = [out if flag else broadcast(out, size) for out, flag in zip(outs, flags, strict=True)]
    outputs = trace.graph(tuple([out._index for out in outs]))
    # Every residual and cotangent is batched; an argument that is not adds up what it gets.
    results, flags = batched_graph(pullback, pullback.inputs, size, handle)
    trace = resume(results, handle)
    pulled = [trace.tensor(i) for i in results.outputs]
    pulled = [out if flag else broadcast(out, size) for out, flag in zip(pulled, flags, strict=True)]
    pulled = [
        out if flag else ops["sum"](out, axis=(0,), keepdims=False) for out, flag in zip(pulled, batched, strict=False)
    ]
    results = trace.graph(tuple([out._index for out in pulled]))
    found: tuple[Tensor, ...] = call(*args, forward=outputs, pullback=results, count=count)
    return found


#: A function with an own pullback, as two graphs; inlined before it runs.
call = define("call", spec=call_spec, pullbacks=call_pullbacks, batch=call_batch)
