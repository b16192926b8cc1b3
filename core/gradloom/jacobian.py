"""`jacobian` and `hessian`: all derivatives at once, as a batch of pullbacks or pushforwards."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from gradloom.api import ArgNums, grad, normalise_argnums
from gradloom.autodiff import pullback_graph, pushforward_graph, zeros
from gradloom.batching import batched_graph, broadcast, move_axis
from gradloom.errors import ArgumentError
from gradloom.expansion import inline
from gradloom.function import require_callable, with_name_of
from gradloom.graph import Graph
from gradloom.linear import trace_differentiable
from gradloom.op import ops
from gradloom.program import Program
from gradloom.pytree import unflatten
from gradloom.spec import Spec
from gradloom.tensor import Tensor
from gradloom.trace import Abstract, Trace

Mode = Literal["rev", "fwd"]
_UNKNOWN = Abstract("the graph is being transformed")


def jacobian(f: Callable[..., Any], argnums: ArgNums = 0, mode: Mode | None = None) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of ``f``.

    Parameters
    ----------
    f : callable
        A function of float or complex arrays, written with NumPy.
    argnums : int or sequence of int, default 0
        Positions of the arguments to differentiate.
    mode : {"rev", "fwd"}, optional
        Reverse (one pullback per output element) or forward (one pushforward per input
        element); by default whichever needs fewer.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns, for each output and argument, an array of shape
        ``(*output shape, *argument shape)``. Containers nest: those of the output outside,
        those of the argument inside.

    Raises
    ------
    OutputError, DTypeError
        If an output or an argument to differentiate is not of a float or complex dtype.
    ArgumentError
        If ``mode`` is unknown or ``argnums`` out of range.

    Notes
    -----
    The forward run is shared; the rest costs ``min(outputs, inputs)`` times a small multiple
    of ``f``, in one batch.

    Of a complex output by a real argument it is the derivative ``du/dx + i dv/dx``; of a real output by a complex
    argument ``du/dx - i du/dy``, as in `grad`. Of a complex output by a complex argument it is the complex derivative:
    ``f`` is taken to be holomorphic there.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.jacobian(lambda x: x[:2] * x[2])(np.array([1.0, 2.0, 3.0]))
    array([[3., 0., 1.],
           [0., 3., 2.]])
    """
    require_callable("jacobian", f)
    if mode not in (None, "rev", "fwd"):
        raise ArgumentError(
            "unknown mode", op="jacobian", argument="mode", expected='"rev", "fwd" or None', got=repr(mode)
        )

    def full(*args: Any, **kwargs: Any) -> Any:
        positions = normalise_argnums("jacobian", argnums, len(args))

        def of_chosen(*chosen: Any) -> Any:
            new_args = list(args)
            for n, value in zip(positions, chosen, strict=True):
                new_args[n] = value
            return f(*new_args, **kwargs)

        def build(graph: Graph, wrt: tuple[int, ...]) -> Program:
            return Program(jacobian_graph(graph, wrt, mode))

        chosen = tuple([args[n] for n in positions])
        program, traced = trace_differentiable("jacobian", of_chosen, chosen, build, mode)
        blocks = program.run(traced.values, traced.sources)
        count = len(traced.input_specs)
        rows = []
        for k in range(len(traced.specs)):
            row = unflatten(traced.input_structure, blocks[k * count : (k + 1) * count])
            rows.append(row[0] if isinstance(argnums, int) else row)
        return unflatten(traced.structure, rows)

    return with_name_of(f, full, "jacobian")


def hessian(f: Callable[..., Any], argnums: ArgNums = 0) -> Callable[..., Any]:
    """Return a function that computes the Hessian of ``f``.

    Parameters
    ----------
    f : callable
        A function that returns a real scalar.
    argnums : int or sequence of int, default 0
        Positions of the arguments to differentiate.

    Returns
    -------
    callable
        Takes what ``f`` takes; returns an array of shape ``(*argument shape, *argument
        shape)`` for each pair of arguments.

    Raises
    ------
    OutputError, DTypeError, ArgumentError
        As in `grad`.

    Notes
    -----
    Forward over reverse: one batch of ``n`` pushforwards through the gradient. Where only
    products with vectors are needed, `hvp` costs ``n`` times less.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> gl.hessian(lambda x: x[0] ** 2 * x[1])(np.array([1.0, 2.0]))
    array([[4., 2.],
           [2., 0.]])
    """
    return with_name_of(f, jacobian(grad(f, argnums), argnums, mode="fwd"), "hessian")


def jacobian_graph(graph: Graph, wrt: tuple[int, ...], mode: Mode | None) -> Graph:
    """Return the graph of all Jacobian blocks, output by output, argument by argument.

    Parameters
    ----------
    graph : Graph
        The function.
    wrt : tuple of int
        Ids of the inputs to differentiate.
    mode : {"rev", "fwd"} or None
        None takes the mode with fewer directions.
    """
    outputs = graph.output_specs()
    arguments = [graph.specs[i] for i in wrt]
    if mode is None:
        mode = "fwd" if sum(s.size for s in arguments) < sum(s.size for s in outputs) else "rev"
    derive, directions, others = (
        (pullback_graph, outputs, arguments) if mode == "rev" else (pushforward_graph, arguments, outputs)
    )
    derived = derive(graph, wrt, Tensor)
    # Where complex and real meet, a unit says half of it, and the imaginary unit the other half.
    turned = [k for k, s in enumerate(directions) if s.dtype.kind == "c" and any(o.dtype.kind == "f" for o in others)]
    unit = -1j if mode == "rev" else 1j
    count = sum(s.size for s in directions) + sum(directions[k].size for k in turned)
    late = frozenset(derived.inputs[len(graph.inputs) :])
    batched, flags = batched_graph(derived, late, count, Tensor)
    trace = Trace(Tensor)
    inputs = [trace.add_input(graph.specs[i], _UNKNOWN) for i in graph.inputs]
    found = inline(trace, batched, [*inputs, *_basis(trace, directions, turned, unit, count)])[len(outputs) :]
    found = [x if flag else broadcast(x, count) for x, flag in zip(found, flags[len(outputs) :], strict=True)]
    blocks = _blocks(found, directions, others, turned, unit.conjugate(), transposed=mode == "fwd")
    return trace.graph(tuple([block._index for block in blocks]))


def _basis(trace: Trace, specs: Sequence[Spec], turned: Sequence[int], unit: complex, count: int) -> list[Any]:
    """Return batches of unit vectors: the rows of an identity matrix, cut into the specs.

    Of the turned specs there are multiples by the imaginary unit too, behind all others.
    """
    rows = []
    index = ops["reshape"](_iota(trace, count), shape=(count, 1))
    starts = _starts(specs, turned)
    for k, spec in enumerate(specs):
        if not spec.size:
            rows.append(zeros(trace, Spec((count, *spec.shape), spec.dtype)))
            continue
        positions = _iota(trace, spec.size)
        start, *others = starts[k]
        vectors = ops["astype"](ops["equal"](index, positions + start), dtype=spec.dtype)
        for other in others:
            vectors = vectors + ops["astype"](ops["equal"](index, positions + other), dtype=spec.dtype) * unit
        rows.append(ops["reshape"](vectors, shape=(count, *spec.shape)))
    return rows


def _starts(specs: Sequence[Spec], turned: Sequence[int]) -> list[list[int]]:
    """Return where the unit vectors of each spec begin, and the turned ones."""
    found: list[list[int]] = [[] for _ in specs]
    start = 0
    for k in (*range(len(specs)), *turned):
        found[k].append(start)
        start += specs[k].size
    return found


def _iota(trace: Trace, length: int) -> Any:
    op = ops["iota"]
    return trace.bind(op, (), op.attr_values({"length": length, "dtype": np.dtype(np.int64)}))


def _blocks(
    found: list[Any],
    directions: Sequence[Spec],
    others: Sequence[Spec],
    turned: Sequence[int],
    unit: complex,
    transposed: bool,
) -> list[Any]:
    """Cut batches of derivatives into blocks of shape (*output, *argument)."""
    table = []
    for direction, (start, *turns) in zip(directions, _starts(directions, turned), strict=True):
        row = []
        for batch, other in zip(found, others, strict=True):
            part = batch[start : start + direction.size]
            if turns and other.dtype.kind == "f":
                part = part + unit * batch[turns[0] : turns[0] + direction.size]
            if transposed:
                part = move_axis(part, 0, part.ndim - 1)
                shape = (*other.shape, *direction.shape)
            else:
                shape = (*direction.shape, *other.shape)
            row.append(ops["reshape"](part, shape=shape))
        table.append(row)
    rows = zip(*table, strict=True) if transposed else table
    return [block for row in rows for block in row]
