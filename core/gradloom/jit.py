"""`jit`: trace a function once per signature, then only run its plan; and `make_graph`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gradloom.backend import spec_of
from gradloom.errors import ArgumentError
from gradloom.function import output_ids
from gradloom.graph import Graph
from gradloom.program import Program
from gradloom.pytree import Structure, flatten, paths, unflatten
from gradloom.spec import Spec
from gradloom.tensor import Tensor
from gradloom.trace import Abstract, Handle, Trace, describe, user_location


class Compiled(NamedTuple):
    """A traced function: its program, the arrays it closed over, and the structure of its output."""

    program: Program
    captured: list[Any]
    structure: Structure


def trace_abstractly(transform: str, f: Callable[..., Any], structure: Structure, specs: list[Spec]) -> Compiled:
    """Trace ``f`` on inputs known only by their specs.

    ``structure`` is that of ``(args, kwargs)``.
    """
    trace = Trace(Tensor, None, copies=False)
    reason = Abstract(f"it is traced by {transform} for any value of this shape and dtype")
    try:
        tensors = [trace.add_input(spec, reason) for spec in specs]
        args, kwargs = unflatten(structure, tensors)
        ids, out_structure = output_ids(trace, transform, f(*args, **kwargs))
        graph = trace.graph(tuple(ids))
    finally:
        trace.end()
    captured = [trace.input_values[i] for i in trace.inputs[len(specs) :]]
    return Compiled(Program(graph), captured, out_structure)


def leaf_specs(transform: str, structure: Structure, leaves: list[Any]) -> list[Spec]:
    """Return the specs of an argument list's leaves; raise for what is no array or number."""
    specs = []
    for k, leaf in enumerate(leaves):
        spec = leaf.spec if isinstance(leaf, Handle) else spec_of(leaf)
        if spec is None:
            raise ArgumentError(
                "cannot trace an argument of this kind",
                op=transform,
                argument=f"args{paths(structure)[k]}",
                expected="arrays and numbers in containers",
                got=describe(leaf),
                remedy="name it in static_argnums",
                location=user_location(),
            )
        specs.append(spec)
    return specs


def make_graph(f: Callable[..., Any]) -> Callable[..., Graph]:
    """Return a function that traces ``f`` and returns its graph instead of running it.

    Parameters
    ----------
    f : callable
        A function of arrays and numbers (in containers), written with NumPy.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns a `gradloom.graph.Graph`. Arrays that ``f`` closes
        over are inputs after the arguments.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> print(gl.make_graph(lambda x: np.sin(x) * 2.0)(1.0).without_sources())
    graph(x0: float64[]) {
      x1 = sin(x0)  # float64[]
      x3 = multiply(x1, 2.0)  # float64[]
      return x3
    }
    """

    def graph(*args: Any, **kwargs: Any) -> Graph:
        leaves, structure = flatten((args, kwargs))
        specs = leaf_specs("make_graph", structure, leaves)
        return trace_abstractly("make_graph", f, structure, specs).program.graph

    return graph
