"""Traced counterparts of the methods of ufuncs that are no function of their own.

The order in which an associative ufunc is applied is free, so a fold takes pairs, and a scan doubles its
reach: both need a number of ops that grows as the logarithm of the length.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gradloom.dispatch import implements_method, name_of, refuse
from gradloom.errors import ArgumentError, IndexRangeError
from gradloom.functions._arguments import axis_index, reshaped
from gradloom.functions.indexing import value_of
from gradloom.functions.reduction import given, reduced_axes, tensor_among
from gradloom.ops.reduction import reduced_shape

Tensor = Any

_LOGICAL: list[np.ufunc] = [np.bitwise_and, np.bitwise_or, np.bitwise_xor, np.logical_xor]
_FOLDED: list[np.ufunc] = [np.logaddexp, np.logaddexp2, np.hypot, np.gcd, np.lcm, *_LOGICAL]
#: These reduce by a function of their own, as maximum by numpy.max.
_WITH_REDUCTION: list[np.ufunc] = [np.maximum, np.minimum, np.fmax, np.fmin, np.logical_and, np.logical_or]


def _fold(ufunc: np.ufunc) -> Callable[..., Tensor]:
    name = f"{name_of(ufunc)}.reduce"

    def reduce(
        a: Any,
        axis: Any = 0,
        dtype: Any = None,
        out: Any = None,
        keepdims: bool = False,
        initial: Any = None,
        where: Any = True,
    ) -> Tensor:
        """Combine the elements along axes."""
        refuse(name, out=out, where=(where, True))
        a = _prepared(ufunc, a, dtype)
        axes = reduced_axes(name, axis, a.ndim)
        shape = reduced_shape(a.shape, axes, keepdims)
        first = np.moveaxis(a, axes, range(len(axes)))
        rows = reshaped(first, (math.prod(first.shape[: len(axes)]), *first.shape[len(axes) :]))
        if given(initial) or not rows.shape[0]:
            start = initial if given(initial) else _identity(ufunc, name, a.shape)
            rows = np.concatenate([np.full_like(rows, start, shape=(1, *rows.shape[1:])), rows])
        while rows.shape[0] > 1:
            half = rows.shape[0] // 2
            # Neighbours are combined, which keeps the order; one may be left over.
            pairs = ufunc(rows[0 : 2 * half : 2], rows[1 : 2 * half : 2])
            rows = np.concatenate([pairs, rows[2 * half :]])
        return reshaped(rows[0], shape)

    return reduce


def _scan(ufunc: np.ufunc) -> Callable[..., Tensor]:
    name = f"{name_of(ufunc)}.accumulate"

    def accumulate(array: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Tensor:
        """Combine each element along an axis with all before it."""
        refuse(name, out=out)
        rows = np.moveaxis(_prepared(ufunc, array, dtype), axis_index(name, axis, array.ndim), 0)
        reach = 1
        while reach < rows.shape[0]:
            rows = np.concatenate([rows[:reach], ufunc(rows[:-reach], rows[reach:])])
            reach *= 2
        return np.moveaxis(rows, 0, axis)

    return accumulate


def _prepared(ufunc: np.ufunc, a: Tensor, dtype: Any) -> Tensor:
    """Return an array in the dtype that the results have."""
    dtype = ufunc.resolve_dtypes((a.dtype, a.dtype, None))[2] if dtype is None else np.dtype(dtype)
    return np.astype(a, dtype, copy=False)


def _identity(ufunc: np.ufunc, name: str, shape: tuple[int, ...]) -> Any:
    if ufunc.identity is None:
        raise ArgumentError(
            "nothing to combine, and no identity",
            op=name,
            argument="array",
            expected="at least one element along the axes, or initial=",
            got=shape,
            remedy="pass what a combination of nothing gives as initial=",
        )
    return ufunc.identity


for _ufunc in _FOLDED:
    implements_method("reduce", _ufunc)(_fold(_ufunc))
    implements_method("accumulate", _ufunc)(_scan(_ufunc))
for _ufunc in _WITH_REDUCTION:
    implements_method("accumulate", _ufunc)(_scan(_ufunc))


@implements_method("reduceat", np.add)
def np_add_reduceat(array: Any, indices: Any, axis: Any = 0, dtype: Any = None, out: Any = None) -> Tensor:
    """Add up from each index to the next one; where that is not larger, take the one element."""
    name = "numpy.add.reduceat"
    refuse(name, out=out)
    array = tensor_among(array, indices)
    if dtype is None:
        dtype = np.add.reduce(np.empty(0, array.dtype)).dtype  # sums of small integers are integers of the machine
    rows = np.moveaxis(np.astype(array, dtype), axis_index(name, axis, array.ndim), 0)
    starts = value_of(indices, name)
    if starts.size and not 0 <= starts.min() <= starts.max() < rows.shape[0]:
        raise IndexRangeError(
            "an index is out of bounds", op=name, argument="indices", expected=f"0 to {rows.shape[0] - 1}", got=starts
        )
    counts = np.maximum(np.append(starts[1:], rows.shape[0]) - starts, 1)
    parts = np.repeat(np.arange(starts.size), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    taken = np.take(rows, np.arange(parts.size) - before + np.repeat(starts, counts), axis=0)
    sums = np.zeros_like(taken, shape=(starts.size, *taken.shape[1:]))
    np.add.at(sums, parts, taken)
    return np.moveaxis(sums, 0, axis)
