"""Ops that the user steers gradients with: `stop_gradient`, and calls with an own pullback."""

from __future__ import annotations

from typing import Any

from gradloom.graph import Graph
from gradloom.op import define
from gradloom.program import inline
from gradloom.spec import Spec

Tensor = Any


def stop_gradient_spec(x: Spec) -> Spec:
    return x


#: The identity, with a derivative of zero.
stop_gradient = define("stop_gradient", spec=stop_gradient_spec, elementwise=True, zero_derivative=True, view=True)


def call_spec(*args: Spec, forward: Graph, pullback: Graph, count: int) -> tuple[Spec, ...]:
    return forward.output_specs()


def call_pullback(
    argument: int, cotangents: Any, outs: Any, *args: Tensor, forward: Graph, pullback: Graph, count: int
) -> Tensor:
    # ``forward`` returns the user's outputs followed by the residuals that ``pullback`` takes
    # before the cotangents; residuals carry no cotangent of their own.
    return inline(args[0]._trace, pullback, [*outs[count:], *cotangents[:count]])[argument]


#: A function with an own pullback, as two graphs; inlined before it runs.
call = define("call", spec=call_spec, pullback=call_pullback)
