"""Arguments that many NumPy functions share: axes, and lists of arrays."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.errors import ArgumentError, AxisError, DTypeError
from gradloom.ops.shape import reshape
from gradloom.refusals import describe
from gradloom.symbolic import index
from gradloom.trace import Handle, innermost

Tensor = Any


def axis_index(op: str, axis: Any, ndim: int, argument: str = "axis") -> int:
    """Return an axis as a number from 0, or raise an `AxisError`."""
    try:
        k = operator.index(axis)
    except TypeError:
        raise ArgumentError(
            "an axis must be an integer",
            op=op,
            argument=argument,
            expected="an int",
            got=describe(axis),
            remedy="give a Python int; a traced number cannot choose an axis (static_argnums under jit)",
        ) from None
    if not -ndim <= k < ndim:
        raise AxisError(
            "axis out of range",
            op=op,
            argument=argument,
            expected=f"an axis of a {ndim}-d array, {-ndim} to {ndim - 1}" if ndim else "no axis (the array is 0-d)",
            got=k,
            remedy="count axes from 0, or from the end with -1; x[..., None] adds one",
        )
    return k % ndim


def axis_tuple(op: str, axis: Any, ndim: int, argument: str = "axis") -> tuple[int, ...]:
    """Return an axis, several, or None for all, as numbers from 0."""
    if axis is None:
        return tuple(range(ndim))
    if not np.iterable(axis):
        return (axis_index(op, axis, ndim, argument),)
    axes = tuple([axis_index(op, k, ndim, argument) for k in axis])
    if len(set(axes)) != len(axes):
        raise AxisError(
            "an axis is given twice",
            op=op,
            argument=argument,
            expected=f"distinct axes of a {ndim}-d array",
            got=axis,
            remedy="name each axis once",
        )
    return axes


def shape_tuple(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple; it may be given as the length of its one axis."""
    return tuple([index(n) for n in shape]) if np.iterable(shape) else (index(shape),)


def as_array(value: Any) -> Any:
    """Return a tensor, which no longer yields to other dtypes, or a NumPy array (foreign arrays as they are)."""
    if isinstance(value, Handle) and value.spec.weak:
        return value._trace.strong(value)
    if isinstance(value, Handle) or hasattr(value, "__array_function__"):
        return value
    if isinstance(value, (list, tuple)) and innermost(leaves(value)) is not None:
        return np.stack([as_array(v) for v in value])
    return np.asarray(value)


def as_tensor(value: Any, trace: Any) -> Tensor:
    """Return a value as a tensor of a trace."""
    if isinstance(value, Handle) and value._trace is trace:
        return value
    return trace.tensor(trace.lift(as_array(value)))


def as_tensor_of(value: Any, trace: Any, dtype: np.dtype[Any]) -> Tensor:
    """Return a value as a tensor of a trace and a dtype, which must hold Python integers in it."""
    if type(value) is int and dtype.kind in "iu":
        return trace.tensor(trace.literal(value, dtype))
    if type(value) is complex and dtype.kind != "c":  # NumPy's own complex numbers are cut, with a warning there
        raise _not_real(None, "values", dtype, value)
    if isinstance(value, (list, tuple)):
        if innermost(leaves(value)) is None:
            return as_tensor(np.array(value, dtype), trace)
        return np.stack([as_tensor_of(v, trace, dtype) for v in value])
    return np.astype(as_tensor(value, trace), dtype)


def refuse_complex(op: str, argument: str, x: Any) -> None:
    """Raise for complex numbers where their imaginary part would be lost."""
    if x.dtype.kind == "c":
        raise _not_real(op, argument, "real numbers", x.dtype)


def _not_real(op: str | None, argument: str, expected: Any, got: Any) -> DTypeError:
    return DTypeError(
        "the imaginary part would be lost",
        op=op,
        argument=argument,
        expected=expected,
        got=got,
        remedy="take np.real or np.abs of it, or make the others complex: x.astype(complex)",
    )


def reshaped(x: Any, shape: tuple[int, ...]) -> Any:
    """Return an array or a tensor in another shape; a tensor is not noted as a view."""
    return reshape(x, shape=shape) if isinstance(x, Handle) else np.reshape(x, shape)


def leaves(value: Any) -> list[Any]:
    """Return what stands in nested lists and tuples, or a value that is neither."""
    if isinstance(value, (list, tuple)):
        return [leaf for v in value for leaf in leaves(v)]
    return [value]
