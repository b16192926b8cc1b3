"""Traced counterparts of NumPy's statistics, written from ops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import axis_tuple
from gradloom.functions.reduction import (
    NoValue,
    cast,
    given,
    has_where,
    mask_of,
    np_sum,
    reduced_axes,
    tensor_among,
)
from gradloom.ops import reduction
from gradloom.ops.arithmetic import divide
from gradloom.spec import real_dtype
from gradloom.symbolic import compute
from gradloom.trace import Handle

Tensor = Any

# -- mean ----------------------------------------------------------------------------------


@implements(np.mean)
def np_mean(
    a: Any, axis: Any = None, dtype: Any = None, out: Any = None, keepdims: Any = False, *, where: Any = True
) -> Tensor:
    """Return the sum over the number of elements, as NumPy does."""
    if out is not None:
        refuse("numpy.mean", out=out)
    a = tensor_among(a, where)
    shape = a.spec.shape
    axes = reduced_axes("numpy.mean", axis, len(shape))
    result_dtype = a.spec.dtype if dtype is None else np.dtype(dtype)
    if dtype is not None or result_dtype.char not in "fdFD":
        a, result_dtype = _widened(a, dtype)
    if has_where(where):
        count = _count("numpy.mean", a, axes, where, keepdims)
        total = np_sum(a, axes, keepdims=keepdims, where=where)
        return cast(total / np.astype(count, real_dtype(total.dtype)), result_dtype)
    trace = a._trace
    total = trace.bind(reduction.sum, (a,), (axes, bool(keepdims)))
    number = compute(float, math.prod(shape) if len(axes) == len(shape) else math.prod([shape[k] for k in axes]))
    return cast(trace.bind(divide, (total, number)), result_dtype)


def _widened(a: Tensor, dtype: Any) -> tuple[Tensor, np.dtype[Any]]:
    """Return an array in the dtype in which NumPy adds up a mean, and the dtype of the result."""
    if dtype is not None:
        return cast(a, dtype), np.dtype(dtype)
    if a.dtype.kind in "iub":
        return cast(a, np.float64), np.dtype(np.float64)
    if a.dtype == np.float16:
        return cast(a, np.float32), a.dtype
    return a, a.dtype


def _count(op: str, a: Tensor, axes: tuple[int, ...], where: Any, keepdims: Any) -> Tensor:
    """Return how many elements ``where`` selects along some axes."""
    mask = np.broadcast_to(mask_of(op, where, a), a.shape)
    return np.sum(mask, axis=axes, keepdims=bool(keepdims))


@implements(np.average)
def np_average(a: Any, axis: Any = None, weights: Any = None, returned: bool = False, *, keepdims: Any = False) -> Any:
    """Return the weighted mean; with ``returned``, the sum of weights too."""
    a = tensor_among(a, weights)
    axes = None if axis is None else axis_tuple("numpy.average", axis, a.ndim)
    keepdims = bool(keepdims) and keepdims is not NoValue
    if weights is None:
        average = np_mean(a, axes, keepdims=keepdims)
        total: Any = np.full(average.shape, a.size / max(average.spec.size, 1), average.dtype)
        return (average, total) if returned else average
    weights = _weights_along(a, weights, axis, axes)
    dtype = np.result_type(a.dtype, weights.dtype, *[np.float64] * (a.dtype.kind in "iub"))
    total = np.sum(np.astype(weights, dtype), axis=axes, keepdims=keepdims)
    if not isinstance(total, Handle) and np.any(total == 0):
        raise ZeroDivisionError("Weights sum to zero, can't be normalized")
    average = np_sum(a * weights, axes, dtype, keepdims=keepdims) / total
    return (average, np.broadcast_to(total, average.shape)) if returned else average


def _weights_along(a: Tensor, weights: Any, axis: Any, axes: tuple[int, ...] | None) -> Any:
    """Return weights in a shape that broadcasts against ``a``."""
    weights = weights if isinstance(weights, Handle) else np.asarray(weights)
    if weights.shape == a.shape:
        return weights
    expected = a.shape if axes is None else tuple([a.shape[k] for k in axes])
    if axes is None or weights.shape != expected:
        raise ShapeError(
            "weights do not fit the array",
            op="numpy.average",
            argument="weights",
            expected=f"shape {a.shape}" if axes is None else f"shape {a.shape} or {expected}",
            got=weights.shape,
            remedy="pass axis=" if axis is None else None,
        )
    weights = np.transpose(weights, [axes.index(k) for k in sorted(axes)])
    return np.reshape(weights, [n if k in axes else 1 for k, n in enumerate(a.shape)])


# -- var, std ------------------------------------------------------------------------------


@implements(np.var)
def np_var(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NoValue,
    correction: Any = NoValue,
) -> Tensor:
    """Return the mean squared distance from the mean."""
    return variance("numpy.var", a, axis, dtype, out, ddof, keepdims, where, mean, correction)


@implements(np.std)
def np_std(
    a: Any,
    axis: Any = None,
    dtype: Any = None,
    out: Any = None,
    ddof: Any = 0,
    keepdims: Any = False,
    *,
    where: Any = True,
    mean: Any = NoValue,
    correction: Any = NoValue,
) -> Tensor:
    """Return the root of the variance; its gradient is zero where all elements are equal."""
    return root(variance("numpy.std", a, axis, dtype, out, ddof, keepdims, where, mean, correction))


def root(x: Tensor) -> Tensor:
    """Return a square root whose derivative at zero is taken as zero."""
    zero = x == 0
    return np.where(zero, x.dtype.type(0), np.sqrt(np.where(zero, x.dtype.type(1), x)))


def variance(
    name: str,
    a: Any,
    axis: Any,
    dtype: Any,
    out: Any,
    ddof: Any,
    keepdims: Any,
    where: Any,
    mean: Any,
    correction: Any,
) -> Tensor:
    """Return the mean squared distance from the mean, by the arguments of `numpy.var`."""
    refuse(name, out=out)
    a = tensor_among(a, where, mean)
    axes = reduced_axes(name, axis, a.ndim)
    if dtype is not None or a.dtype.kind in "iub":
        a = cast(a, np.float64 if dtype is None else dtype)
    if not given(mean):
        mean = _plain_mean(name, a, axes, where)
    square = _squared(a - mean)
    if dtype is not None:
        square = cast(square, real_dtype(np.dtype(dtype)))
    total = np_sum(square, axes, keepdims=keepdims, where=where)
    return cast(total / _degrees(name, a, axes, keepdims, where, degrees_removed(name, ddof, correction)), total.dtype)


def _plain_mean(name: str, a: Tensor, axes: tuple[int, ...], where: Any) -> Tensor:
    """Return the mean with axes kept, in the precision of the array."""
    total = np_sum(a, axes, keepdims=True, where=where)
    return cast(total / _degrees(name, a, axes, True, where, 0), a.dtype)


def _squared(x: Tensor) -> Tensor:
    return np.square(x) if x.dtype.kind != "c" else np.square(np.real(x)) + np.square(np.imag(x))


def degrees_removed(name: str, ddof: Any, correction: Any) -> Any:
    """Return what is subtracted from the number of elements; NumPy has two names for it."""
    if correction is NoValue:
        return ddof
    if ddof != 0:
        raise ArgumentError(
            "ddof and correction are the same",
            op=name,
            argument="correction",
            expected="one of them",
            got="both",
            remedy="leave ddof out",
        )
    return correction


def _degrees(name: str, a: Tensor, axes: tuple[int, ...], keepdims: Any, where: Any, ddof: Any) -> Any:
    """Return the number of elements less ``ddof``, at least zero."""
    if not has_where(where):
        count = math.prod([a.shape[k] for k in axes]) - ddof
        return 0.0 if count <= 0 else compute(float, count)
    count = np.astype(_count(name, a, axes, where, keepdims), real_dtype(a.dtype))
    return np.maximum(count - ddof, 0)


# -- cov, corrcoef -------------------------------------------------------------------------


@implements(np.cov)
def np_cov(
    m: Any,
    y: Any = None,
    rowvar: bool = True,
    bias: bool = False,
    ddof: int | None = None,
    fweights: Any = None,
    aweights: Any = None,
    *,
    dtype: Any = None,
) -> Tensor:
    """Return the covariance matrix of variables, one a row."""
    x = _variables(m, rowvar, "m", y, aweights)
    if y is not None:
        x = np.concatenate([x, _variables(y, rowvar, "y", x)], axis=0)
    if ddof is not None and ddof != int(ddof):
        raise ArgumentError("ddof must be an integer", op="numpy.cov", argument="ddof", expected="an int", got=ddof)
    ddof = (0 if bias else 1) if ddof is None else ddof
    x = cast(x, np.result_type(x.dtype, np.float64) if dtype is None else dtype)
    weights = _observation_weights(x.shape[1], fweights, aweights)
    if weights is None:
        centred = x - np_mean(x, 1, keepdims=True)
        weighted, factor = centred, max(x.shape[1] - ddof, 0)
    else:
        total = np.sum(weights)
        centred = x - np_sum(x * weights, 1, keepdims=True) / total
        weighted = centred * weights
        factor = total - ddof * (1 if aweights is None else np.sum(weights * np.asarray(aweights)) / total)
    return np.squeeze(weighted @ np.conj(centred.T) / factor)


def _variables(m: Any, rowvar: bool, argument: str, *others: Any) -> Tensor:
    x = tensor_among(m, *others)
    if x.ndim > 2:
        raise ShapeError(
            "too many dimensions",
            op="numpy.cov",
            argument=argument,
            expected="at most 2 dimensions",
            got=x.shape,
            remedy="make each row one variable: x.reshape(len(x), -1)",
        )
    x = x if x.ndim == 2 else np.reshape(x, (1, -1))
    return x if rowvar or x.shape[0] == 1 else x.T


def _observation_weights(length: int, fweights: Any, aweights: Any) -> Any:
    """Return frequencies times reliabilities of the observations, None if all are one."""
    weights = None
    for name, given_weights in (("fweights", fweights), ("aweights", aweights)):
        if given_weights is None:
            continue
        refuse_tensor(name, given_weights)
        array = np.asarray(given_weights, np.float64)
        if array.shape != (length,):
            raise ShapeError(
                "one weight for each observation", op="numpy.cov", argument=name, expected=(length,), got=array.shape
            )
        if (array < 0).any() or (name == "fweights" and (array != np.around(array)).any()):
            raise ArgumentError(
                "invalid weights",
                op="numpy.cov",
                argument=name,
                expected="non-negative integers" if name == "fweights" else "non-negative numbers",
                got=array,
            )
        weights = array if weights is None else weights * array
    return weights


def refuse_tensor(argument: str, value: Any) -> None:
    """Raise for a tensor where only an array is supported."""
    if isinstance(value, Handle):
        raise DTypeError(
            "tensors are not supported here", op="numpy.cov", argument=argument, expected="an array", got=value
        )


@implements(np.corrcoef)
def np_corrcoef(x: Any, y: Any = None, rowvar: bool = True, *, dtype: Any = None) -> Tensor:
    """Return the correlation coefficients of variables, one a row."""
    covariance = np_cov(x, y, rowvar, dtype=dtype)
    if not covariance.ndim:
        return covariance / covariance
    deviation = np.sqrt(np.real(np.diagonal(covariance)))
    scaled = covariance / deviation[:, None] / deviation[None, :]
    if scaled.dtype.kind != "c":
        return np.clip(scaled, -1, 1)
    return np.clip(np.real(scaled), -1, 1) + 1j * np.clip(np.imag(scaled), -1, 1)
