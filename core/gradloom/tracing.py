"""Tracing: functions on arguments known only by their specs, as `jit` and `make_graph` do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from gradloom.backend import spec_of
from gradloom.collector import resting_collector
from gradloom.errors import ArgumentError
from gradloom.function import call, output_ids, require_callable
from gradloom.graph import Graph
from gradloom.program import Program
from gradloom.pytree import Structure, flatten, paths, unflatten
from gradloom.refusals import describe, made_plain
from gradloom.spec import Spec
from gradloom.tensor import Tensor
from gradloom.trace import Abstract, Handle, Trace


class Traced(NamedTuple):
    """A traced function: its graph, in which gradients are still to be taken, what it closed over, and its result."""

    graph: Graph
    captured: list[Any]
    structure: Structure


def trace_abstractly(
    transform: str, f: Callable[..., Any], structure: Structure, specs: list[Spec], leaves: list[Any]
) -> Traced:
    """Trace ``f`` on inputs known only by their specs.

    ``structure`` is that of ``(args, kwargs)``, ``leaves`` are the values that must not change meanwhile.
    """
    trace = Trace(Tensor, None, copies=False)
    trace.runs_user_code = trace.defers = True
    reason = Abstract(f"it is traced by {transform} for any value of this shape and dtype")
    try:
        for leaf in leaves:
            trace.protect(leaf)
        with resting_collector():
            tensors = [trace.add_input(spec, reason) for spec in specs]
            args, kwargs = unflatten(structure, tensors)
            ids, out_structure = output_ids(trace, transform, call(f, args, kwargs))
            graph = trace.graph(ids)
    finally:
        trace.end()
    captured = [trace.input_values[i] for i in trace.inputs[len(specs) :]]
    return Traced(graph, captured, out_structure)


def leaf_specs(transform: str, structure: Structure, leaves: list[Any]) -> list[Spec]:
    """Return the specs of an argument list's leaves; raise for what is no array or number."""
    specs = []
    for k, leaf in enumerate(leaves):
        spec = leaf.spec if isinstance(leaf, Handle) else spec_of(leaf)
        if spec is None:
            raise ArgumentError(
                "cannot trace an argument of this kind",
                op=transform,
                argument=_argument_name(paths(structure)[k]),
                expected="arrays and numbers in containers",
                got=describe(leaf),
                remedy=made_plain(leaf, "name it in static_argnums"),
            )
        specs.append(spec)
    return specs


def _argument_name(path: str) -> str:
    """Return where a leaf of ``(args, kwargs)`` stands, in the words of a caller."""
    _, entry, rest = path.split("]", 2)
    return f"argument {entry[1:]}{rest}"


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

    Raises
    ------
    ConcreteValueError
        If ``f`` asks for a value while it is traced.
    ArgumentError
        If an argument is neither an array nor a number.

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
    require_callable("make_graph", f)

    def graph(*args: Any, **kwargs: Any) -> Graph:
        leaves, structure = flatten((args, kwargs))
        specs = leaf_specs("make_graph", structure, leaves)
        return Program(trace_abstractly("make_graph", f, structure, specs, leaves).graph).graph

    return graph
