"""The gradient functions: `grad`, `value_and_grad` and `elementwise_grad`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from gradloom.autodiff import gradient_graph
from gradloom.errors import ArgumentError, OutputError
from gradloom.expansion import defer_gradient
from gradloom.follow import Latest
from gradloom.function import (
    call,
    differentiable_leaves,
    new_trace,
    output_ids,
    require_callable,
    scalar_output,
    with_name_of,
    wrap_foreign,
)
from gradloom.graph import Graph
from gradloom.program import Program, programs
from gradloom.pytree import Structure, unflatten
from gradloom.refusals import describe
from gradloom.tensor import Tensor
from gradloom.trace import Trace, innermost

ArgNums = int | Sequence[int]


def value_and_grad(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Return a function that computes the value of ``f`` and its gradient together.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them that returns a real scalar;
        written with NumPy.
    argnums : int or sequence of int, default 0
        Positions of the arguments to differentiate.
    has_aux : bool, default False
        ``f`` returns ``(value, aux)``; ``aux`` (arrays in containers) is passed through.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns ``(value, gradient)``, or ``((value, aux), gradient)``.
        A gradient has the structure, shapes and dtypes of its argument; for a sequence
        ``argnums`` it is a tuple of them.

    Raises
    ------
    OutputError
        If ``f`` does not return a real scalar.
    DTypeError
        If an argument to differentiate is of integers or booleans.
    ArgumentError
        If ``argnums`` is out of range.

    Notes
    -----
    The gradient costs a small multiple of ``f``, whatever the number of arguments. For
    complex arguments it is ``df/dx - i df/dy`` at ``x + iy``, as in autograd and JAX.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> value, gradient = gl.value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 2.0]))
    >>> float(value), gradient
    (5.0, array([2., 4.]))
    """
    return _gradient_function(f, argnums, has_aux, "value_and_grad")


def grad(f: Callable[..., Any], argnums: ArgNums = 0, has_aux: bool = False) -> Callable[..., Any]:
    """Return a function that computes the gradient of ``f``.

    Parameters
    ----------
    f : callable
        A function of arrays, numbers and containers of them that returns a real scalar;
        written with NumPy.
    argnums : int or sequence of int, default 0
        Positions of the arguments to differentiate.
    has_aux : bool, default False
        ``f`` returns ``(value, aux)``; ``aux`` (arrays in containers) is passed through.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns the gradient, or ``(gradient, aux)``. A gradient has the
        structure, shapes and dtypes of its argument.

    Raises
    ------
    OutputError, DTypeError, ArgumentError
        As in `value_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.grad(np.tanh)(0.0)
    np.float64(1.0)
    >>> gl.grad(lambda p: p["a"] * p["b"])({"a": 3.0, "b": 2.0})
    {'a': np.float64(2.0), 'b': np.float64(3.0)}
    """
    value_and_gradient = _gradient_function(f, argnums, has_aux, "grad")

    def gradient(*args: Any, **kwargs: Any) -> Any:
        value, result = value_and_gradient(*args, **kwargs)
        return (result, value[1]) if has_aux else result

    return with_name_of(f, gradient, "grad")


def elementwise_grad(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """Return a function that computes the derivative of each output element.

    For functions whose output elements each depend on the matching input element only, this
    is the diagonal of the Jacobian; in general it is the sum of its rows.

    Parameters
    ----------
    f : callable
        A function that returns a real array.
    argnums : int or sequence of int, default 0
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns the derivative, of the shape and dtype of the argument.

    Raises
    ------
    OutputError
        If ``f`` does not return one real array.
    DTypeError, ArgumentError
        As in `value_and_grad`.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.elementwise_grad(np.square)(np.array([1.0, 2.0, 3.0]))
    array([2., 4., 6.])
    """
    value_and_gradient = _gradient_function(f, argnums, False, "elementwise_grad")

    def gradient(*args: Any, **kwargs: Any) -> Any:
        return value_and_gradient(*args, **kwargs)[1]

    return with_name_of(f, gradient, "elementwise_grad")


def normalise_argnums(transform: str, argnums: ArgNums, count: int, name: str = "argnums") -> tuple[int, ...]:
    """Return argnums, whose name is for errors, as non-negative positions, or raise."""
    if type(argnums) is int and 0 <= argnums < count:
        return (argnums,)
    given = tuple(argnums) if isinstance(argnums, Sequence) else (argnums,)
    for n in given:
        if not isinstance(n, int) or isinstance(n, bool) or not -count <= n < count:
            raise ArgumentError(
                f"{name} is out of range",
                op=transform,
                argument=name,
                expected=f"one or several positions (int) of the {count} positional arguments",
                got=repr(argnums),
                remedy=f"pass the arguments that {name} names by position, not by keyword",
            )
    positions = tuple([n % count for n in given])
    if len(set(positions)) < len(positions) or not positions:
        raise ArgumentError(
            f"{name} must name each argument once",
            op=transform,
            argument=name,
            expected="one or more different positions",
            got=repr(argnums),
            remedy="leave out repeated positions; -1 is the last one",
        )
    return positions


def _gradient_function(f: Callable[..., Any], argnums: ArgNums, has_aux: bool, name: str) -> Callable[..., Any]:
    require_callable(name, f)
    several = isinstance(argnums, Sequence)
    known_positions: dict[int, tuple[int, ...]] = {}
    latest = Latest()

    def value_and_gradient(*args: Any, **kwargs: Any) -> Any:
        positions = known_positions.get(len(args))
        if positions is None:
            positions = known_positions[len(args)] = normalise_argnums(name, argnums, len(args))
        trace = new_trace(latest)
        try:
            new_args, chosen = _trace_arguments(trace, name, args, positions)
            if kwargs:
                kwargs = {key: wrap_foreign(trace, value) for key, value in kwargs.items()}
            out = call(f, new_args, kwargs)
            aux = None
            if has_aux:
                out, aux = _split_aux(name, out)
            ids, structure = _outputs(trace, name, out, aux, has_aux)
            wrt, values = len(trace.wrt), list(trace.input_values.values())
            outer = innermost(values)
            later = trace.graph(ids) if outer is not None and outer.defers else None
            if later is None:
                program, values = programs.find(trace, ("gradient", wrt), ids, partial(_program, wrt), latest)
        finally:
            trace.end()
        results = program.run(values, trace.sources) if later is None else defer_gradient(outer, later, wrt, values)
        value = (results[0], unflatten(structure, results[1 : len(ids)])) if has_aux else results[0]
        gradients = unflatten(chosen, results[len(ids) :])
        return value, gradients if several else gradients[0]

    return with_name_of(f, value_and_gradient, name)


def _program(wrt: int, graph: Graph) -> Program:
    return Program(gradient_graph(graph, graph.outputs[:1], graph.inputs[:wrt], Tensor))


def _trace_arguments(
    trace: Trace, name: str, args: tuple[Any, ...], positions: tuple[int, ...]
) -> tuple[list[Any], Structure]:
    """Return args with tensors, and the structure of the tuple of differentiated ones."""
    new_args = list(args)
    leaves, structure, specs = differentiable_leaves(name, positions, tuple([args[n] for n in positions]))
    tensors = [trace.add_argument(spec, value) for spec, value in zip(specs, leaves, strict=True)]
    for n, arg in zip(positions, unflatten(structure, tensors), strict=True):
        new_args[n] = arg
    trace.wrt = range(len(leaves))
    if len(args) > len(positions):
        for n, arg in enumerate(args):
            if n not in positions:
                new_args[n] = wrap_foreign(trace, arg)
    return new_args, structure


def _split_aux(name: str, out: Any) -> tuple[Any, Any]:
    if not isinstance(out, tuple) or len(out) != 2:
        raise OutputError(
            "with has_aux=True the function must return (value, aux)",
            op=name,
            argument="output",
            expected="a tuple of two",
            got=describe(out),
            remedy="return (value, aux), or leave out has_aux",
        )
    return out


def _outputs(trace: Trace, name: str, out: Any, aux: Any, has_aux: bool) -> tuple[tuple[int, ...], Any]:
    if name == "elementwise_grad":
        ids, structure = output_ids(trace, name, out)
        if len(ids) != 1 or trace.specs[ids[0]].dtype.kind != "f":
            raise OutputError(
                "the function must return one real array",
                op=name,
                argument="output",
                expected="a float array",
                got=describe(out),
                remedy="use gl.vjp or gl.jacobian for several or complex outputs",
            )
        return ids, structure
    first = scalar_output(trace, name, out)
    if not has_aux:
        return (first,), None
    ids, structure = output_ids(trace, name, (aux, 0.0))
    return (first, *ids[:-1]), structure[2][0]
