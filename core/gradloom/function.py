"""Calling a user's function with tensors, and finding what it computed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.backend import backend_of_type, backends, spec_of
from gradloom.errors import ArgumentError, DTypeError, GradloomError, OutputError
from gradloom.follow import Latest
from gradloom.graph import INPUT, LITERAL, Graph, live_nodes
from gradloom.op import Op, runs_on_arrays
from gradloom.placement import MOVES
from gradloom.program import Program, choose_backend, programs
from gradloom.progress import DISPLAY, phase
from gradloom.pytree import Structure, flatten, paths, unflatten
from gradloom.refusals import abstract_value, describe, made_plain
from gradloom.spec import PYTHON_SCALARS, Spec
from gradloom.tensor import Tensor
from gradloom.trace import Abstract, Handle, Trace

_PLAIN = frozenset({np.ndarray, float, int, bool, complex, str, type(None)})


def require_callable(transform: str, f: Any) -> None:
    """Raise unless the first argument of a transform is a function."""
    if not callable(f):
        raise ArgumentError(
            "the first argument must be a function",
            op=transform,
            argument="f",
            expected="a function of arrays and numbers, written with NumPy",
            got=describe(f),
            remedy=f"pass the function itself, not what it returns: gl.{transform}(f)",
        )


def new_trace(latest: Latest | None = None) -> Trace:
    """Return a trace whose values can be asked for; it follows the latest one of its function."""
    return Trace(Tensor, evaluate) if latest is None else latest.trace(Tensor, evaluate)


def differentiable_leaves(
    transform: str, argument: tuple[int, ...] | str, tree: Any
) -> tuple[list[Any], Structure, list[Spec]]:
    """Flatten what to differentiate; raise unless its leaves are float or complex.

    ``argument`` names it, or gives the positions of the arguments that ``tree`` is a tuple of.

    Returns
    -------
    leaves, structure, specs
    """
    values, structure = flatten(tree)
    specs = []
    for k, value in enumerate(values):
        spec = value.spec if isinstance(value, Handle) else spec_of(value)
        if spec is None or not spec.inexact:
            raise _not_differentiable(transform, _leaf_name(argument, paths(structure)[k]), value, spec)
        specs.append(spec)
    return values, structure, specs


def _leaf_name(argument: tuple[int, ...] | str, path: str) -> str:
    if isinstance(argument, str):
        return argument + path
    entry, rest = path.removeprefix("[").split("]", 1)
    return f"argument {argument[int(entry)]}{rest}"


def _not_differentiable(transform: str, argument: str, value: Any, spec: Spec | None) -> Exception:
    if spec is None:
        hint = "containers are tuples, lists, dicts and dataclasses"
        if "." in argument:
            hint = 'settings of a dataclass stand in fields with metadata={"static": True}'
        return ArgumentError(
            "cannot differentiate with respect to a value of this kind",
            op=transform,
            argument=argument,
            expected="a float or complex array or number",
            got=describe(value),
            remedy=made_plain(value, f"choose the arguments to differentiate with argnums; {hint}"),
        )
    return DTypeError(
        "cannot differentiate with respect to integers or booleans",
        op=transform,
        argument=argument,
        expected="float or complex dtype",
        got=spec,
        remedy="convert it (x.astype(float), 3.0 instead of 3) or choose others with argnums",
    )


def call(f: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Any:
    """Call a user's function; an error of gradloom that NumPy replaced by its own comes out again."""
    try:
        if DISPLAY.get() is None:
            return f(*args, **kwargs)
        with phase(f"tracing {getattr(f, '__name__', type(f).__name__)}"):
            return f(*args, **kwargs)
    except ValueError as error:
        if isinstance(error.__cause__, GradloomError):
            raise error.__cause__ from None
        if "read-only" in str(error):
            error.add_note(
                "gradloom: an array is write-protected while a function of it is traced; change a copy of it"
            )
        raise


def wrap_foreign(trace: Trace, tree: Any) -> Any:
    """Return an argument with the arrays of other backends as tensors.

    NumPy functions would convert such arrays, or fail; on tensors they are traced.
    """
    if type(tree) in _PLAIN or isinstance(tree, Handle):
        return tree
    values, structure = flatten(tree)
    if all(type(v) in _PLAIN or isinstance(v, (Handle, np.ndarray, np.generic)) for v in values):
        return tree
    return unflatten(structure, [_wrap_leaf(trace, v) for v in values])


def _wrap_leaf(trace: Trace, value: Any) -> Any:
    if type(value) in _PLAIN or isinstance(value, (Handle, np.ndarray, np.generic)) or spec_of(value) is None:
        return value
    return trace.tensor(trace.lift(value))


def output_ids(trace: Trace, transform: str, tree: Any) -> tuple[tuple[int, ...], Structure]:
    """Return the nodes of a function's outputs; constants become nodes too."""
    values, structure = flatten(tree)
    ids = []
    for k, value in enumerate(values):
        if not isinstance(value, Handle) and spec_of(value) is None:
            raise OutputError(
                "the function must return arrays or numbers (in containers)",
                op=transform,
                argument="output" + paths(structure)[k],
                expected="an array or a number",
                got=describe(value),
                remedy="return arrays and numbers in tuples, lists and dicts; compute the rest outside",
            )
        ids.append(trace.home(trace.lift(value)))
    if _holds_handle(structure):
        raise OutputError(
            "the function returned a traced value where containers hold none",
            op=transform,
            argument="output",
            expected="arrays as entries and fields, not as keys or in static fields",
            got=repr(tree),
            remedy="return it as an entry of its own",
        )
    if not values:
        raise OutputError(
            "the function returned nothing",
            op=transform,
            argument="output",
            expected="an array or a number",
            got=repr(tree),
            remedy="end the function with a return statement",
        )
    return tuple(ids), structure


def _holds_handle(structure: Structure) -> bool:
    """Return whether a key or a static field of a container is a traced value."""
    return isinstance(structure, Handle) or (isinstance(structure, tuple) and any(map(_holds_handle, structure)))


def scalar_output(trace: Trace, transform: str, out: Any) -> int:
    """Return the node of a real scalar output, or raise."""
    remedy = "return a 0-d array or a float"
    if isinstance(out, Handle) or spec_of(out) is not None:
        index = trace.home(trace.lift(out))
        spec = trace.specs[index]
        if not spec.shape and spec.dtype.kind == "f":
            return index
        got: Any = spec
        if spec.shape:
            remedy = "reduce it (np.sum, np.mean), or use gl.jacobian or gl.elementwise_grad"
        elif spec.dtype.kind == "c":
            remedy = "take np.real or np.abs of the output"
    else:
        got = describe(out)
        if isinstance(out, tuple):
            remedy = "return (value, aux) with has_aux=True, or use gl.jacobian"
    raise OutputError(
        "the function must return a real scalar",
        op=transform,
        argument="output",
        expected="a 0-d float value",
        got=got,
        remedy=remedy,
    )


@runs_on_arrays
def run_op(op: Op, args: tuple[Any, ...], attrs: tuple[Any, ...]) -> Any:
    """Run an op on arrays and numbers, as a traced function that consists of it would."""
    trace = new_trace()
    try:
        out = trace.bind(op, args, attrs)
        ids, structure = output_ids(trace, op.name, out)
        program, values = programs.find(trace, "op", ids, Program)
    finally:
        trace.end()
    return unflatten(structure, program.run(values, trace.sources))


def evaluate(trace: Trace, index: int, action: str) -> Any:
    """Compute the value of a node now, for ``action``, with the values of the trace's inputs."""
    values = trace.values
    nodes = trace.nodes
    needed: set[int] = set()
    stack = [index]
    while stack:
        i = stack.pop()
        if i not in values and i not in needed:
            needed.add(i)
            stack += nodes[i][1]
    order = sorted(needed)
    if any([nodes[i][0] in MOVES for i in order]):
        return _run(trace, index, action)
    for i in order:
        op, _, attrs = nodes[i]
        if op is INPUT:
            values[i] = _input_value(trace, i, action)
        elif op is LITERAL:
            values[i] = attrs[0].dtype.type(trace.literals[attrs[1]])
    backend = backends.get(choose_backend([values[i] for i in trace.inputs if i in values]))
    if backend.name != "numpy":
        for i in order:
            if nodes[i][0] in (INPUT, LITERAL) and not backend.recognises(type(values[i])):
                values[i] = backend.from_host(values[i])
    for i in order:
        op, inputs, attrs = nodes[i]
        if op.name == "call":
            forward = Program(attrs[0])
            values[i] = tuple(forward.plan(backend.name).run([values[j] for j in inputs]))
        elif op is not INPUT and op is not LITERAL:
            kernel, keywords = backend.kernel(op, attrs)
            values[i] = kernel(*[values[j] for j in inputs], **keywords)
    value = values[index]
    return value if backend.name == "numpy" else backend.to_host(value)


def _run(trace: Trace, index: int, action: str) -> Any:
    """Compute the value of a node now, on the devices and workers where its trace says."""
    graph = trace.graph((trace.home(index),))
    live = live_nodes(graph.nodes, graph.outputs)
    inputs = tuple([i for i in graph.inputs if live[i]])
    graph = Graph(graph.nodes, graph.specs, inputs, graph.outputs, graph.literals, graph.sources)
    (value,) = Program(graph).run([_input_value(trace, i, action) for i in inputs])
    kind: Any = type(value)
    name = backend_of_type(kind)
    trace.values[index] = value if name in (None, "numpy") else backends.get(name).to_host(value)
    return trace.values[index]


def _input_value(trace: Trace, i: int, action: str) -> Any:
    value = trace.input_values.get(i)
    if isinstance(value, Handle):
        return value._trace.demand(value._index, action)
    if value is None or isinstance(value, Abstract):
        raise abstract_value(action, "none is known here" if value is None else value.reason)
    if type(value) in PYTHON_SCALARS:
        return trace.specs[i].dtype.type(value)
    return value


def with_name_of(function: Callable[..., Any], wrapper: Callable[..., Any], prefix: str) -> Callable[..., Any]:
    """Give a transformed function the name and docstring of the one it came from."""
    name = getattr(function, "__name__", type(function).__name__)
    wrapper.__name__ = wrapper.__qualname__ = f"{prefix}_{name}"
    wrapper.__doc__ = f"{prefix} of {name}.\n\n{getattr(function, '__doc__', None) or ''}"
    wrapper.__wrapped__ = function  # type: ignore[attr-defined]
    return wrapper
