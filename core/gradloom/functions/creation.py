"""Traced counterparts of NumPy's functions that create arrays like another, written from ops."""

from __future__ import annotations

import operator
from typing import Any, NoReturn

import numpy as np

from gradloom.autodiff import full
from gradloom.dispatch import implements, implements_creation, refuse
from gradloom.errors import ArgumentError, UnsupportedFunctionError
from gradloom.functions._arguments import as_array, as_tensor, as_tensor_of, leaves, shape_tuple
from gradloom.ops.shape import broadcast_to
from gradloom.refusals import describe
from gradloom.spec import Spec
from gradloom.trace import Handle, innermost

Tensor = Any


# -- like another array ------------------------------------------------------------------------


@implements(np.zeros_like)
def np_zeros_like(
    a: Tensor, dtype: Any = None, order: Any = "K", subok: Any = True, shape: Any = None, *, device: Any = None
) -> Tensor:
    """Return zeros of the shape and dtype of an array."""
    _honour("numpy.zeros_like", order, device)
    return _filled(a, dtype, shape, 0)


@implements(np.empty_like)
def np_empty_like(
    prototype: Tensor,
    /,
    dtype: Any = None,
    order: Any = "K",
    subok: Any = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tensor:
    """Return zeros of the shape and dtype of an array."""
    _honour("numpy.empty_like", order, device)
    return _filled(prototype, dtype, shape, 0)


@implements(np.ones_like)
def np_ones_like(
    a: Tensor, dtype: Any = None, order: Any = "K", subok: Any = True, shape: Any = None, *, device: Any = None
) -> Tensor:
    """Return ones of the shape and dtype of an array."""
    _honour("numpy.ones_like", order, device)
    return _filled(a, dtype, shape, 1)


@implements(np.full_like)
def np_full_like(
    a: Tensor,
    fill_value: Any,
    dtype: Any = None,
    order: Any = "K",
    subok: Any = True,
    shape: Any = None,
    *,
    device: Any = None,
) -> Tensor:
    """Return an array filled with a value, which keeps its gradient."""
    _honour("numpy.full_like", order, device)
    return _full(a, fill_value, dtype or a.dtype, a.shape if shape is None else shape_tuple(shape))


def _honour(op: str, order: Any, device: Any) -> None:
    """Refuse what cannot be honoured; memory order and subclasses do not concern tensors."""
    refuse(op, device=(None if device == "cpu" else device, None))
    if order not in ("C", "F", "A", "K", None):
        raise ArgumentError(
            "no such memory order",
            op=op,
            argument="order",
            expected="'C', 'F', 'A', 'K' or None",
            got=repr(order),
            remedy="leave order out",
        )


def _filled(like: Tensor, dtype: Any, shape: Any, number: int) -> Tensor:
    spec = Spec(like.shape if shape is None else shape_tuple(shape), np.dtype(like.dtype if dtype is None else dtype))
    kind = {"b": bool, "i": int, "u": int}.get(spec.dtype.kind, float)
    return full(like._trace, spec, kind(number))


def _full(like: Tensor, value: Any, dtype: Any, shape: tuple[int, ...]) -> Tensor:
    trace = innermost((like, value)) if isinstance(value, Handle) else like._trace
    value = as_tensor_of(value, trace, np.dtype(dtype))
    return broadcast_to(value, shape=shape) if value.shape != shape else value.copy()


# -- np.zeros(..., like=tensor) and its relatives -----------------------------------------------


@implements_creation(np.zeros)
def zeros_for(like: Tensor, shape: Any, dtype: Any = float, order: Any = "C", *, device: Any = None) -> Tensor:
    """Return zeros as a tensor."""
    _honour("numpy.zeros", order, device)
    return _filled(like, dtype or float, shape, 0)


@implements_creation(np.empty)
def empty_for(like: Tensor, shape: Any, dtype: Any = float, order: Any = "C", *, device: Any = None) -> Tensor:
    """Return zeros as a tensor."""
    _honour("numpy.empty", order, device)
    return _filled(like, dtype or float, shape, 0)


@implements_creation(np.ones)
def ones_for(like: Tensor, shape: Any, dtype: Any = None, order: Any = "C", *, device: Any = None) -> Tensor:
    """Return ones as a tensor."""
    _honour("numpy.ones", order, device)
    return _filled(like, dtype or float, shape, 1)


@implements_creation(np.full)
def full_for(
    like: Tensor, shape: Any, fill_value: Any, dtype: Any = None, order: Any = "C", *, device: Any = None
) -> Tensor:
    """Return a tensor filled with a value."""
    _honour("numpy.full", order, device)
    return _full(like, fill_value, dtype or as_array(fill_value).dtype, shape_tuple(shape))


@implements_creation(np.array)
def array_for(
    like: Tensor,
    object: Any,
    dtype: Any = None,
    *,
    copy: Any = True,
    order: Any = "K",
    subok: Any = False,
    ndmin: int = 0,
) -> Tensor:
    """Return numbers, arrays or nested lists of tensors as a tensor."""
    _honour("numpy.array", order, None)
    trace = innermost((like, *leaves(object)))
    out = as_tensor(object, trace) if dtype is None else as_tensor_of(object, trace, np.dtype(dtype))
    if out.ndim < ndmin:
        out = np.reshape(out, (1,) * (ndmin - out.ndim) + out.shape)
    return out.copy() if copy else out


@implements_creation(np.asarray, np.asanyarray, np.ascontiguousarray, np.asfortranarray)
def asarray_for(
    like: Tensor, a: Any, dtype: Any = None, order: Any = None, *, device: Any = None, copy: Any = None
) -> Tensor:
    """Return numbers, arrays or nested lists of tensors as a tensor."""
    _honour("numpy.asarray", order, device)
    return array_for(like, a, dtype, copy=bool(copy))


def _static(function: Any) -> Any:
    def create(like: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return as_tensor(function(*args, **kwargs), like._trace)

    return create


for _function in (np.arange, np.eye, np.identity, np.tri):
    implements_creation(_function)(_static(_function))


# -- ranges between tensors ------------------------------------------------------------------


@implements(np.linspace)
def np_linspace(
    start: Any,
    stop: Any,
    num: Any = 50,
    endpoint: bool = True,
    retstep: bool = False,
    dtype: Any = None,
    axis: Any = 0,
    *,
    device: Any = None,
) -> Any:
    """Return numbers evenly spaced between two."""
    _honour("numpy.linspace", None, device)
    points, step = _spaced("numpy.linspace", start, stop, num, endpoint)
    points = _finished(points, dtype, axis)
    return (points, step) if retstep else points


@implements(np.logspace)
def np_logspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, base: Any = 10.0, dtype: Any = None, axis: Any = 0
) -> Tensor:
    """Return powers of a base with evenly spaced exponents."""
    if np.ndim(base):
        shape = np.broadcast_shapes(np.shape(start), np.shape(stop), np.shape(base))
        start, stop = np.broadcast_to(as_array(start), shape), np.broadcast_to(as_array(stop), shape)
    exponents = _spaced("numpy.logspace", start, stop, num, endpoint)[0]
    return _finished(base**exponents, dtype, axis)


@implements(np.geomspace)
def np_geomspace(
    start: Any, stop: Any, num: Any = 50, endpoint: bool = True, dtype: Any = None, axis: Any = 0
) -> Tensor:
    """Return numbers with a constant ratio between two; that neither is zero is not looked for."""
    first, last = _ends(as_array(start), as_array(stop), np.float64(0))
    fractions = _spaced("numpy.geomspace", 0.0, 1.0, num, endpoint)[0]
    column = np.reshape(fractions, (-1, *[1] * np.broadcast(_hull(first), _hull(last)).ndim))
    points = first * (last / first) ** column
    if endpoint and len(fractions) > 1:
        points = _with_last(points, last)
    return _finished(points, dtype, axis)


def _hull(x: Any) -> Any:
    """Return an array of a shape that takes no memory."""
    return np.broadcast_to(0, x.shape)


def _ends(start: Any, stop: Any, *others: Any) -> tuple[Any, Any]:
    """Return both ends as floats of the dtype that they have in common with others."""
    first, last = as_array(start), as_array(stop)
    # As in NumPy: Python numbers leave the precision of the other end alone.
    dtype = np.result_type(
        *[x if isinstance(x, (int, float, complex)) else _dtype_or_number(x) for x in (start, stop, *others)]
    )
    dtype = np.result_type(dtype, np.float64) if dtype.kind in "biu" else dtype
    return np.astype(first, dtype), np.astype(last, dtype)


def _dtype_or_number(x: Any) -> Any:
    """Return the dtype of an array; of a traced Python number, one of its kind, which yields to dtypes as well."""
    return x.spec.dtype.type(0).item() if isinstance(x, Handle) and x.spec.weak else as_array(x).dtype


def _spaced(op: str, start: Any, stop: Any, num: Any, endpoint: bool) -> tuple[Any, Any]:
    """Return evenly spaced points along a new first axis, and the step between them."""
    count = operator.index(num)
    if count < 0:
        raise ArgumentError("too few points", op=op, argument="num", expected="0 or more", got=count)
    first, last = _ends(start, stop)
    delta = last - first
    parts = count - 1 if endpoint else count
    k = np.reshape(np.arange(count, dtype=delta.real.dtype), (-1, *[1] * delta.ndim))
    if parts <= 0:
        return first + k * delta, np.nan
    step = delta / parts
    points = k * step + first
    return (_with_last(points, last) if endpoint and count > 1 else points), step


def _with_last(points: Any, last: Any) -> Any:
    """Replace the last points by exact ones."""
    exact = np.broadcast_to(np.astype(last, points.dtype), (1, *points.shape[1:]))
    return np.concatenate([points[:-1], exact])


def _finished(points: Any, dtype: Any, axis: Any) -> Any:
    """Move the new axis, and round down where integers are asked for."""
    points = points if axis == 0 else np.moveaxis(points, 0, axis)
    if dtype is None:
        return points
    return np.astype(np.floor(points) if np.dtype(dtype).kind in "iu" else points, dtype)


# -- copies --------------------------------------------------------------------------------------


@implements(np.copy)
def np_copy(a: Tensor, order: Any = "K", subok: Any = False) -> Tensor:
    """Return a tensor that in-place changes of this one leave alone."""
    _honour("numpy.copy", order, None)
    return a.copy()


@implements(np.copyto)
def np_copyto(dst: Any, src: Any, casting: Any = "same_kind", where: Any = True) -> NoReturn:
    """Refuse; tensors are assigned or selected."""
    raise UnsupportedFunctionError(
        "copyto is not supported on tensors: it changes an array in place",
        op="numpy.copyto",
        argument="dst",
        expected="an array that no tensor is written into",
        got=describe(dst),
        remedy="assign (dst[...] = src) or select (dst = np.where(mask, src, dst)); np.full(shape, x, like=x) fills",
    )
