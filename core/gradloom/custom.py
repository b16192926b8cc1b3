"""`stop_gradient` and `custom_gradient`: where the user knows better than the rules."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from gradloom.autodiff import unbroadcast
from gradloom.errors import ArgumentError, OutputError, ShapeError
from gradloom.function import call, new_trace, output_ids, require_callable
from gradloom.graph import Graph
from gradloom.ops import custom as ops
from gradloom.pytree import describe, flatten, paths, tree_map, unflatten
from gradloom.stage import stage
from gradloom.trace import Handle, Trace, innermost


def stop_gradient(x: Any) -> Any:
    """Return ``x``, through which no gradient flows.

    Parameters
    ----------
    x : array, number, or a container of them
        Outside a trace it is returned as it is.

    Returns
    -------
    array, number, or a container of them
        The same values in the same containers.

    Examples
    --------
    >>> import gradloom as gl
    >>> gl.grad(lambda x: x * gl.stop_gradient(x))(3.0)
    np.float64(3.0)
    """
    return tree_map(lambda leaf: ops.stop_gradient(leaf) if isinstance(leaf, Handle) else leaf, x)


def custom_gradient(f: Callable[..., tuple[Any, Callable[..., Any]]]) -> Callable[..., Any]:
    """Give a function its own pullback.

    Parameters
    ----------
    f : callable
        ``f(*args)`` returns ``(out, pullback)``; ``pullback(cotangent)`` takes a cotangent
        like ``out`` and returns one result per positional argument, alike (a tuple for
        several). Both are written with NumPy. The pullback serves forward mode too, transposed
        (it is then to be linear in the cotangent), and is itself differentiated for higher orders.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns ``out``.

    Raises
    ------
    LostGradientError
        If ``f`` closes over a tensor that is being differentiated: it would get no gradient.
    MissingRuleError
        In forward mode, if the pullback is not linear in its cotangent: it clips it, say.
    OutputError, ShapeError
        If ``f`` or the pullback return something else than described.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> @gl.custom_gradient
    ... def clipped_log(x):
    ...     return np.log(x), lambda g: g * np.minimum(1 / x, 10.0)
    >>> gl.grad(clipped_log)(0.001)
    np.float64(10.0)
    """
    require_callable("custom_gradient", f)

    @wraps(f)
    def wrapper(*args: Any) -> Any:
        leaves, structure = flatten(args)
        trace = innermost(leaves)
        if trace is None:
            return _pair(f(*args))[0]
        inner = new_trace()
        try:
            tensors = [inner.add_input(_spec_in(trace, leaf), leaf) for leaf in leaves]
            out, pullback = _pair(call(f, unflatten(structure, tensors), {}))
            ids, out_structure = output_ids(inner, "custom_gradient", out)
            cotangents = [inner.add_input(inner.specs[i].strong(), None) for i in ids]
            pulled = call(pullback, (unflatten(out_structure, cotangents),), {})
            results = [inner.home(i) for i in _pulled_ids(inner, pulled, structure, len(args), tensors)]
            late = [c._index for c in cotangents]
            captured = [i for i in inner.inputs[len(leaves) :] if i not in late]
            values = [inner.input_values[i] for i in captured]
            graph = inner.graph((*ids, *results))
        finally:
            inner.end()
        _refuse_lost(values)
        ordered = Graph(
            graph.nodes,
            graph.specs,
            (*graph.inputs[: len(leaves)], *captured, *late),
            graph.outputs,
            graph.literals,
            graph.sources,
        )
        forward, backward = stage(ordered, len(ids), late)
        outs = ops.call(*leaves, *values, forward=forward, pullback=backward, count=len(ids))
        return unflatten(out_structure, outs[: len(ids)])

    return wrapper


def _spec_in(trace: Any, leaf: Any) -> Any:
    if isinstance(leaf, Handle):
        return leaf.spec
    index = trace.lift(leaf)
    return trace.tensor(index).spec


def _pair(result: Any) -> tuple[Any, Callable[..., Any]]:
    if not isinstance(result, tuple) or len(result) != 2 or not callable(result[1]):
        raise OutputError(
            "the function must return (out, pullback)",
            op="custom_gradient",
            expected="a tuple of the output and a function",
            got=type(result).__name__,
            remedy="return (out, pullback), where pullback(cotangent) returns one result for each argument",
        )
    return result


def _pulled_ids(inner: Trace, pulled: Any, structure: Any, count: int, tensors: list[Any]) -> list[int]:
    """Return the nodes of what a pullback returned, one per leaf of the arguments."""
    if count == 1 and not (isinstance(pulled, tuple) and len(pulled) == 1):
        pulled = (pulled,)
    leaves, found = flatten(pulled)
    if found != structure:
        raise ArgumentError(
            "the pullback must return one result per argument, alike",
            op="custom_gradient",
            expected=describe(structure),
            got=describe(found),
            remedy="return a tuple with one gradient for each argument, np.zeros_like(x) where nothing flows",
        )
    ids = []
    for path, leaf, tensor in zip(paths(structure), leaves, tensors, strict=True):
        index = inner.lift(leaf)
        if inner.specs[index].shape != tensor.spec.shape:
            raise ShapeError(
                "the pullback returned a wrong shape",
                op="custom_gradient",
                argument=f"result{path}",
                expected=tensor.spec.shape,
                got=inner.specs[index].shape,
                remedy="sum over the axes that were broadcast, or reshape",
            )
        # A gradient has the dtype of its argument.
        ids.append(unbroadcast(inner.tensor(index), tensor.spec)._index if tensor.spec.inexact else index)
    return ids


def _refuse_lost(values: list[Any]) -> None:
    for value in values:
        if isinstance(value, Handle) and value._trace.carries_gradient(value._index):
            raise ops.closed_over()
