"""Visualize: a graph as a self-contained SVG picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from gradloom.errors import ArgumentError
from gradloom.graph import Graph
from gradloom.lazy import LazyTensor, graph_of
from gradloom.pytree import flatten, paths
from gradloom.refusals import describe
from gradloom.tracing import make_graph

if TYPE_CHECKING:
    from gradloom.svg import Drawing


def visualize(
    f: Callable[..., Any] | Graph | LazyTensor,
    *args: Any,
    filename: str | os.PathLike[str] | None = None,
    **kwargs: Any,
) -> Drawing:
    """Draw the graph of a function.

    What the function computes flows down on the left. Its derivative, if it is a gradient,
    stands on the right, beside what it is the derivative of, and flows up. Point at a box to
    see the user's line, and at a line to see what it carries.

    Parameters
    ----------
    f : callable, Graph or Tensor
        A function of arrays and numbers (in containers), written with NumPy, such as
        ``gl.value_and_grad(loss)``; a graph; or a lazy tensor.
    *args, **kwargs
        The arguments of ``f``, of which only shapes and dtypes matter; or further lazy tensors.
    filename : path, optional
        Where to save the picture, a name that ends in ``.svg``.

    Returns
    -------
    Drawing
        Shown by notebooks; ``.svg`` is its text and ``.save(path)`` writes it.

    Raises
    ------
    ArgumentError
        If there is no function, graph or lazy tensor to draw, if it has more than 1,000 nodes, or if
        ``filename`` does not end in ``.svg``.

    Notes
    -----
    Literals are written into the boxes that use them; nodes that no output needs are left out.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> drawing = gl.visualize(gl.value_and_grad(lambda x: np.sum(np.sin(x))), np.ones(3))
    >>> drawing.svg[:4]
    '<svg'
    >>> x = gl.tensor(shape=(3,))
    >>> loss = np.sum(x**2)
    >>> drawing = gl.visualize(loss, *gl.gradients(loss, [x]))
    """
    title = "graph"
    names: Sequence[str] = ()
    outputs: Sequence[str] = ()
    if isinstance(f, Graph):
        if args or kwargs:
            raise ArgumentError(
                "a graph takes no arguments",
                op="visualize",
                got=f"{len(args) + len(kwargs)} of them",
                remedy="pass the graph alone",
            )
        graph = f
    elif isinstance(f, LazyTensor):
        if kwargs or not all([isinstance(arg, LazyTensor) for arg in args]):
            raise ArgumentError(
                "lazy tensors are drawn with other lazy tensors only",
                op="visualize",
                argument="args",
                expected="tensors that gl.tensor returned, or that were computed with such",
                got=", ".join([describe(arg) for arg in [*args, *kwargs.values()]]),
                remedy="pass the lazy tensors alone; what they are fed does not matter",
            )
        graph = graph_of([f, *args])
    elif not callable(f):
        raise ArgumentError(
            "the first argument must be a function, a graph or a lazy tensor",
            op="visualize",
            argument="f",
            expected="what gl.make_graph, gl.jit or gl.tensor take or return",
            got=describe(f),
            remedy="write what is to be drawn as a function, or make its graph with gl.make_graph",
        )
    else:
        graph, names, outputs = _traced(f, args, kwargs)
        title = getattr(f, "__name__", type(f).__name__)
    # What lays out and draws is imported when somebody asks.
    from gradloom.picture import Picture
    from gradloom.svg import Drawing

    drawing = Drawing(Picture(graph, title, names, outputs).svg())
    if filename is not None:
        drawing.save(filename)
    return drawing


def _traced(f: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Graph, list[str], list[str]]:
    """Return the graph of a function and the names of its arguments and outputs."""
    outputs: list[str] = []

    def noting_outputs(*args: Any, **kwargs: Any) -> Any:
        out = f(*args, **kwargs)
        outputs[:] = paths(flatten(out)[1], "output")
        return out

    graph = make_graph(noting_outputs)(*args, **kwargs)
    names = _parameter_names(f, len(args))
    arguments = [path for name, arg in zip(names, args, strict=True) for path in paths(flatten(arg)[1], name)]
    arguments += [path for name, arg in kwargs.items() for path in paths(flatten(arg)[1], name)]
    return graph, arguments, outputs


def _parameter_names(f: Callable[..., Any], count: int) -> list[str]:
    """Return the names of positional parameters, looking through transforms."""
    while hasattr(f, "__wrapped__"):
        f = f.__wrapped__
    code = getattr(f, "__code__", None)
    known = () if code is None else code.co_varnames[: code.co_argcount]
    if hasattr(f, "__self__"):
        known = known[1:]
    return [known[k] if k < len(known) else f"argument {k}" for k in range(count)]
