"""The derivative as a linear map: `vjp`, `jvp`, `linearize` and `hvp`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from gradloom.api import ArgNums, grad, normalise_argnums
from gradloom.autodiff import pullback_graph, pushforward_graph
from gradloom.backend import spec_of
from gradloom.errors import ArgumentError, DTypeError, OutputError, ShapeError
from gradloom.function import call, differentiable_leaves, new_trace, output_ids, require_callable, with_name_of
from gradloom.graph import Graph
from gradloom.program import Program, programs
from gradloom.pytree import Structure, describe, flatten, in_key_order, paths, unflatten
from gradloom.spec import Spec
from gradloom.stage import stage
from gradloom.tensor import Tensor
from gradloom.trace import Handle


class _Traced(NamedTuple):
    """A function traced at a point: the values of its inputs, and what goes in and out."""

    values: list[Any]
    sources: Any
    input_structure: Structure
    input_specs: list[Spec]
    structure: Structure
    specs: list[Spec]

    def inputs_like(self, transform: str, argument: str, tree: Any) -> list[Any]:
        """Return the leaves of a tree that must fit the primals."""
        return fitting_leaves(transform, argument, tree, self.input_structure, self.input_specs)

    def outputs_like(self, transform: str, argument: str, tree: Any) -> list[Any]:
        """Return the leaves of a tree that must fit the output."""
        return fitting_leaves(transform, argument, tree, self.structure, self.specs)


def trace_differentiable(
    transform: str,
    f: Callable[..., Any],
    primals: tuple[Any, ...],
    build: Callable[[Graph, tuple[int, ...]], Any],
    *options: Any,
) -> tuple[Any, _Traced]:
    """Trace ``f`` at ``primals``; return ``build(graph, wrt)``, cached, and what was traced.

    ``options`` are what ``build`` depends on besides the graph.
    """
    require_callable(transform, f)
    trace = new_trace()
    try:
        leaves, input_structure, specs = differentiable_leaves(transform, "primals", primals)
        tensors = [trace.add_argument(spec, value) for spec, value in zip(specs, leaves, strict=True)]
        trace.wrt = frozenset(trace.inputs)
        wrt = tuple(trace.inputs)
        out = call(f, unflatten(input_structure, tensors), {})
        ids, structure = output_ids(trace, transform, out)
        output_specs = [trace.specs[i].strong() for i in ids]
        if not all(s.inexact for s in output_specs):
            raise OutputError(
                "the function must return float or complex arrays",
                op=transform,
                expected="outputs of a float or complex dtype",
                got=output_specs,
                remedy="leave out integer and boolean outputs, or cast them",
            )
        found, values = programs.find(trace, (transform, len(wrt), *options), ids, lambda graph: build(graph, wrt))
    finally:
        trace.end()
    return found, _Traced(values, trace.sources, input_structure, specs, structure, output_specs)


def _pushforward(graph: Graph, wrt: tuple[int, ...]) -> Program:
    return Program(pushforward_graph(graph, wrt, Tensor))


def _staged(derived: Graph, graph: Graph) -> tuple[Program, Program]:
    late = derived.inputs[len(graph.inputs) :]
    first, second = stage(derived, len(graph.outputs), late)
    return Program(first), Program(second)


def _staged_pullback(graph: Graph, wrt: tuple[int, ...]) -> tuple[Program, Program]:
    return _staged(pullback_graph(graph, wrt, Tensor), graph)


def _staged_pushforward(graph: Graph, wrt: tuple[int, ...]) -> tuple[Program, Program]:
    return _staged(pushforward_graph(graph, wrt, Tensor), graph)


def jvp(f: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """Push a tangent forward: the value of ``f`` and its directional derivative.

    Parameters
    ----------
    f : callable
        A function of float or complex arrays (in containers), written with NumPy.
    primals : tuple
        The arguments of ``f``.
    tangents : tuple
        One tangent per argument, of the same structure and shapes.

    Returns
    -------
    out, tangent
        What ``f`` returns, and its derivative in the direction of ``tangents``, alike.

    Raises
    ------
    ArgumentError, ShapeError, DTypeError
        If tangents do not fit primals.

    Notes
    -----
    Costs a small multiple of ``f``, whatever the number of outputs.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.jvp(np.multiply, (3.0, 2.0), (1.0, 0.0))
    (np.float64(6.0), np.float64(2.0))
    """
    program, traced = trace_differentiable("jvp", f, _as_tuple("jvp", "primals", primals), _pushforward)
    vectors = traced.inputs_like("jvp", "tangents", _as_tuple("jvp", "tangents", tangents))
    results = program.run(traced.values + vectors, traced.sources)
    count = len(traced.specs)
    return unflatten(traced.structure, results[:count]), unflatten(traced.structure, results[count:])


def vjp(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Return the value of ``f`` and the function that pulls cotangents back through it.

    Parameters
    ----------
    f : callable
        A function of float or complex arrays (in containers), written with NumPy.
    *primals
        The arguments of ``f``.

    Returns
    -------
    out
        What ``f`` returns.
    pullback : callable
        Takes a cotangent like ``out``; returns a tuple, one result per primal and like it.

    Raises
    ------
    DTypeError, OutputError
        If a primal or an output is not of a float or complex dtype.
    ArgumentError, ShapeError
        From the pullback, if a cotangent does not fit ``out``.

    Notes
    -----
    What the pullback needs of the forward run is kept until ``pullback`` is dropped.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> out, pullback = gl.vjp(np.multiply, 3.0, 2.0)
    >>> out, pullback(1.0)
    (np.float64(6.0), (np.float64(2.0), np.float64(3.0)))
    """
    (first, second), traced = trace_differentiable("vjp", f, primals, _staged_pullback)
    results = first.run(traced.values, traced.sources)
    traced = traced._replace(values=[])  # the linear map outlives them
    count = len(traced.specs)
    residuals = results[count:]

    def pullback(cotangent: Any) -> tuple[Any, ...]:
        vectors = traced.outputs_like("vjp", "cotangent", cotangent)
        pulled: tuple[Any, ...] = unflatten(traced.input_structure, second.run(residuals + vectors, traced.sources))
        return pulled

    return unflatten(traced.structure, results[:count]), with_name_of(f, pullback, "pullback")


def linearize(f: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Return the value of ``f`` and the linear function that pushes tangents forward.

    Parameters
    ----------
    f : callable
        A function of float or complex arrays (in containers), written with NumPy.
    *primals
        The arguments of ``f``.

    Returns
    -------
    out
        What ``f`` returns.
    pushforward : callable
        Takes one tangent per primal; returns the tangent of ``out``. The forward run is not
        repeated.

    Raises
    ------
    DTypeError, OutputError
        If a primal or an output is not of a float or complex dtype.
    ArgumentError, ShapeError
        From the pushforward, if tangents do not fit the primals.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> out, pushforward = gl.linearize(np.sin, 0.0)
    >>> out, pushforward(2.0)
    (np.float64(0.0), np.float64(2.0))
    """
    (first, second), traced = trace_differentiable("linearize", f, primals, _staged_pushforward)
    results = first.run(traced.values, traced.sources)
    traced = traced._replace(values=[])  # the linear map outlives them
    count = len(traced.specs)
    residuals = results[count:]

    def pushforward(*tangents: Any) -> Any:
        vectors = traced.inputs_like("linearize", "tangents", tangents)
        return unflatten(traced.structure, second.run(residuals + vectors, traced.sources))

    return unflatten(traced.structure, results[:count]), with_name_of(f, pushforward, "pushforward")


def hvp(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """Return a function that multiplies the Hessian of ``f`` with a vector.

    Parameters
    ----------
    f : callable
        A function that returns a real scalar.
    argnums : int or sequence of int, default 0
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        Takes the arguments of ``f`` and then a vector like the differentiated argument (a
        tuple of them for a sequence ``argnums``); returns the product, alike.

    Raises
    ------
    OutputError, DTypeError
        As in `grad`.
    ArgumentError, ShapeError
        If there is no vector after the arguments, or it does not fit.

    Notes
    -----
    Forward over reverse: costs a small multiple of ``f``, and the Hessian is never built.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> x = np.array([1.0, 2.0])
    >>> gl.hvp(lambda x: np.sum(x**3))(x, np.array([1.0, 0.0]))
    array([6., 0.])
    """
    require_callable("hvp", f)

    def product(*args: Any, **kwargs: Any) -> Any:
        if len(args) < 2:
            raise ArgumentError(
                "takes the arguments of the function and then a vector",
                op="hvp",
                expected="at least two arguments",
                got=f"{len(args)} of them",
                remedy="write gl.hvp(f)(x, v)",
            )
        *point, vector = args
        positions = normalise_argnums("hvp", argnums, len(point))

        def gradient(*chosen: Any) -> Any:
            full = list(point)
            for n, value in zip(positions, chosen, strict=True):
                full[n] = value
            return grad(f, argnums)(*full, **kwargs)

        vectors = (vector,) if isinstance(argnums, int) else tuple(vector)
        return jvp(gradient, tuple([point[n] for n in positions]), vectors)[1]

    return with_name_of(f, product, "hvp")


def fitting_leaves(transform: str, argument: str, tree: Any, structure: Structure, specs: Sequence[Spec]) -> list[Any]:
    """Return the leaves of a tree, or raise unless it has a given structure, shapes and kinds."""
    values, found = flatten(tree)
    if found != structure:
        values, found = flatten(in_key_order(tree, structure))
    if found != structure:
        raise ArgumentError(
            "containers differ in structure",
            op=transform,
            argument=argument,
            expected=describe(structure),
            got=describe(found),
            remedy="give a value for every part, in the same containers",
        )
    fitted = []
    for path, value, spec in zip(paths(structure), values, specs, strict=True):
        given = value.spec if isinstance(value, Handle) else spec_of(value)
        if given is None or given.dtype.kind not in "fciub" or (given.dtype.kind == "c" and spec.dtype.kind != "c"):
            raise DTypeError(
                "wrong kind of value",
                op=transform,
                argument=argument + path,
                expected=spec.strong(),
                got=given,
                remedy="pass arrays or numbers of that dtype (np.real of complex ones)",
            )
        if given.shape != spec.shape:
            raise ShapeError(
                "wrong shape",
                op=transform,
                argument=argument + path,
                expected=spec.shape,
                got=given.shape,
                remedy="broadcast it, np.broadcast_to(v, x.shape), or reshape it",
            )
        fitted.append(value if given.dtype == spec.dtype else _as_dtype(value, spec))
    return fitted


def _as_dtype(value: Any, spec: Spec) -> Any:
    if isinstance(value, (float, int, complex)):
        return spec.dtype.type(value)
    return np.astype(np.asarray(value) if isinstance(value, (bool, np.generic)) else value, spec.dtype)


def _as_tuple(transform: str, argument: str, value: Any) -> tuple[Any, ...]:
    if isinstance(value, (tuple, list)):
        return tuple(value)
    raise ArgumentError(
        "must be a tuple, one entry per argument of the function",
        op=transform,
        argument=argument,
        expected="a tuple",
        got=repr(type(value).__name__),
        remedy=f"write ({argument[0]},) for a single one",
    )
