"""`vmap`: map a function over an axis of its arguments, in one graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gradloom.backend import spec_of
from gradloom.batching import batched_graph, broadcast, move_axis
from gradloom.errors import ArgumentError, AxisError, ShapeError
from gradloom.expansion import inline
from gradloom.function import call, new_trace, output_ids, require_callable, with_name_of, wrap_foreign
from gradloom.graph import Graph
from gradloom.program import Program, programs
from gradloom.pytree import DICTS, LEAF, Structure, describe, flatten, unflatten
from gradloom.refusals import describe as describe_value
from gradloom.refusals import made_plain
from gradloom.spec import Spec
from gradloom.tensor import Tensor
from gradloom.trace import Abstract, Handle, Trace

_MAPPED = Abstract("vmap maps over it, so it has many")


def vmap(f: Callable[..., Any], in_axes: Any = 0, out_axes: Any = 0) -> Callable[..., Any]:
    """Return a function that maps ``f`` over an axis of its arguments.

    Parameters
    ----------
    f : callable
        A function of one example, written with NumPy.
    in_axes : int, None, or a container of them, default 0
        The axis of each argument to map over, None for arguments that stay whole. A container
        is matched with the positional arguments; an entry may stand for a whole container.
    out_axes : int, None, or a container of them, default 0
        Where the mapped axis appears in the outputs.

    Returns
    -------
    callable
        Takes batches; returns what ``f`` returns, with the mapped axis in each array.

    Raises
    ------
    ArgumentError, AxisError, ShapeError
        If axes do not fit the arguments, or mapped axes differ in length.

    Notes
    -----
    ``f`` is traced once, for one example. Mapped values cannot be asked for (``if x > 0``
    raises): use ``np.where``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.vmap(np.dot)(np.ones((2, 3)), np.arange(6.0).reshape(2, 3))
    array([ 3., 12.])
    >>> gl.vmap(gl.grad(np.sin))(np.zeros(3))
    array([1., 1., 1.])
    """
    require_callable("vmap", f)

    def mapped(*args: Any, **kwargs: Any) -> Any:
        leaves, structure = flatten(args)
        axes = spread(in_axes, structure, "in_axes")
        axes = [_normalised(leaf, axis, k) for k, (leaf, axis) in enumerate(zip(leaves, axes, strict=True))]
        size = _size(leaves, axes)
        trace = new_trace()
        try:
            new_leaves, mapped_axes = _example(trace, leaves, axes)
            out = call(f, unflatten(structure, new_leaves), {k: wrap_foreign(trace, v) for k, v in kwargs.items()})
            ids, out_structure = output_ids(trace, "vmap", out)
            targets = tuple(spread(out_axes, out_structure, "out_axes"))
            what = "vmap", mapped_axes, targets, size

            def build(graph: Graph) -> Program:
                return Program(mapped_graph(graph, mapped_axes, targets, size))

            program, values = programs.find(trace, what, ids, build)
        finally:
            trace.end()
        values[: len(mapped_axes)] = [leaf for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]
        return unflatten(out_structure, program.run(values, trace.sources))

    return with_name_of(f, mapped, "vmap")


def mapped_graph(graph: Graph, in_axes: tuple[int, ...], out_axes: tuple[int | None, ...], size: int) -> Graph:
    """Return the graph that maps its first inputs over given axes."""
    batched, flags = batched_graph(graph, frozenset(graph.inputs[: len(in_axes)]), size, Tensor)
    trace = Trace(Tensor)
    inputs: list[Any] = []
    for k, spec in enumerate(batched.input_specs()):
        if k < len(in_axes):
            shape = (*spec.shape[1 : in_axes[k] + 1], size, *spec.shape[in_axes[k] + 1 :])
            inputs.append(move_axis(trace.add_input(Spec(shape, spec.dtype), _MAPPED), in_axes[k], 0))
        else:
            inputs.append(trace.add_input(spec, _MAPPED))
    outputs = []
    for out, flag, axis in zip(inline(trace, batched, inputs), flags, out_axes, strict=True):
        outputs.append(_placed(out, flag, axis, size)._index)
    return trace.graph(tuple(outputs))


def _placed(out: Any, batched: bool, axis: int | None, size: int) -> Any:
    """Return an output with the mapped axis where the user wants it."""
    if axis is None:
        if batched:
            raise ArgumentError(
                "an output depends on a mapped argument",
                op="vmap",
                argument="out_axes",
                expected="an axis",
                got="None",
                remedy="name an axis of that output in out_axes, 0 say",
            )
        return out
    out = out if batched else broadcast(out, size)
    if not -out.ndim <= axis < out.ndim:
        raise AxisError(
            "axis out of range",
            op="vmap",
            argument="out_axes",
            expected=f"an axis of {out.ndim}",
            got=axis,
            remedy="count axes of the output with the mapped one, from 0",
        )
    return move_axis(out, 0, axis % out.ndim)


def _example(trace: Trace, leaves: list[Any], axes: list[int | None]) -> tuple[list[Any], tuple[int, ...]]:
    """Return the leaves of one example: tensors for mapped ones, the others as they are."""
    new_leaves = list(leaves)
    mapped = []
    for k, (leaf, axis) in enumerate(zip(leaves, axes, strict=True)):
        if axis is not None:
            spec = _spec(leaf)
            trace.protect(leaf)
            trace.nest(leaf)
            shape = spec.shape[:axis] + spec.shape[axis + 1 :]
            new_leaves[k] = trace.add_input(Spec(shape, spec.dtype), _MAPPED)
            mapped.append(axis)
    # Foreign arrays become inputs too: after the mapped ones, which come first.
    for k, axis in enumerate(axes):
        if axis is None:
            new_leaves[k] = wrap_foreign(trace, leaves[k])
    return new_leaves, tuple(mapped)


def _spec(leaf: Any) -> Spec:
    spec = leaf.spec if isinstance(leaf, Handle) else spec_of(leaf)
    if spec is None:
        raise ArgumentError(
            "cannot map over a value of this kind",
            op="vmap",
            expected="an array",
            got=describe_value(leaf),
            remedy=made_plain(leaf, "give it the axis None in in_axes"),
        )
    return spec


def _normalised(leaf: Any, axis: Any, k: int) -> int | None:
    if axis is None:
        return None
    spec = _spec(leaf)
    if not isinstance(axis, int) or not -spec.ndim <= axis < spec.ndim:
        raise AxisError(
            "axis out of range",
            op="vmap",
            argument=f"in_axes (leaf {k})",
            expected=f"an axis of an array of shape {spec.shape}, or None",
            got=repr(axis),
            remedy="write None in in_axes for what is not mapped",
        )
    return axis % spec.ndim


def _size(leaves: list[Any], axes: list[int | None]) -> int:
    sizes = [_spec(leaf).shape[axis] for leaf, axis in zip(leaves, axes, strict=True) if axis is not None]
    if not sizes:
        raise ArgumentError(
            "nothing to map over",
            op="vmap",
            argument="in_axes",
            expected="an axis for at least one array",
            got="None for every argument" if axes else "no arguments",
            remedy="call the function itself, or name the mapped axis of an argument",
        )
    if len(set(sizes)) > 1:
        raise ShapeError(
            "mapped axes differ in length",
            op="vmap",
            argument="in_axes",
            expected="one length",
            got=sizes,
            remedy="map axes of one length, and write None in in_axes for what is not mapped",
        )
    return sizes[0]


def spread(prefix: Any, structure: Structure, argument: str) -> list[Any]:
    """Spread axes given for containers over their leaves."""
    if structure == LEAF:
        if prefix is None or isinstance(prefix, int):
            return [prefix]
    elif structure is None:
        return []
    else:
        kind, static, children = structure
        if prefix is None or isinstance(prefix, int):
            return [axis for child in children for axis in spread(prefix, child, argument)]
        parts = _parts(prefix, kind, static)
        if parts is not None and len(parts) == len(children):
            return [axis for part, child in zip(parts, children, strict=True) for axis in spread(part, child, argument)]
    raise ArgumentError(
        "the axes do not fit the containers",
        op="vmap",
        argument=argument,
        expected=f"an int, None, or a container like {describe(structure)}",
        got=repr(prefix),
        remedy=f"write {argument}=0 for all, or one entry for each argument or part",
    )


def _parts(prefix: Any, kind: Any, static: Any) -> list[Any] | None:
    """Return the entries of a container of axes, in the order of the container's children."""
    if kind in DICTS:
        return [prefix[k] for k in static] if isinstance(prefix, dict) and prefix.keys() == set(static) else None
    return list(prefix) if isinstance(prefix, (tuple, list)) else None
