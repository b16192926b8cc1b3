"""Traced counterparts of NumPy's functions of sets and counts, whose shapes depend on values.

The values are evaluated on the spot, which `jit` and `vmap` refuse; what is returned is taken
from the tensor, and so carries its derivative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradloom.dispatch import implements
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import as_array, as_tensor, refuse_complex
from gradloom.functions.indexing import value_of
from gradloom.functions.reduction import flat
from gradloom.ops.indexing import index_add
from gradloom.trace import innermost

Tensor = Any


class UniqueAllResult(NamedTuple):
    """Unique values, with everything about them."""

    values: Tensor
    indices: Any
    inverse_indices: Any
    counts: Any


class UniqueCountsResult(NamedTuple):
    """Unique values and how often each comes."""

    values: Tensor
    counts: Any


class UniqueInverseResult(NamedTuple):
    """Unique values and where each element is among them."""

    values: Tensor
    inverse_indices: Any


# -- unique values -------------------------------------------------------------------------


@implements(np.unique)
def np_unique(
    ar: Any,
    return_index: bool = False,
    return_inverse: bool = False,
    return_counts: bool = False,
    axis: Any = None,
    *,
    equal_nan: bool = True,
    sorted: bool = True,
) -> Any:
    """Return the unique elements in order, each where it comes first; evaluated on the spot."""
    array = value_of(ar, "numpy.unique")
    _, index, inverse, counts = np.unique(array, True, True, True, axis, equal_nan=equal_nan)
    values = np.take(flat(ar) if axis is None else ar, index, axis=0 if axis is None else axis)
    wanted = (return_index, return_inverse, return_counts)
    found = [x for x, asked in zip((index, inverse, counts), wanted, strict=True) if asked]
    return (values, *found) if found else values


@implements(np.unique_values)
def np_unique_values(x: Any) -> Tensor:
    """Return the unique elements."""
    return np_unique(x, equal_nan=False)


@implements(np.unique_all)
def np_unique_all(x: Any) -> UniqueAllResult:
    """Return the unique elements, where they come first, where each element is, and counts."""
    return UniqueAllResult(*np_unique(x, True, True, True, equal_nan=False))


@implements(np.unique_counts)
def np_unique_counts(x: Any) -> UniqueCountsResult:
    """Return the unique elements and how often each comes."""
    return UniqueCountsResult(*np_unique(x, return_counts=True, equal_nan=False))


@implements(np.unique_inverse)
def np_unique_inverse(x: Any) -> UniqueInverseResult:
    """Return the unique elements and where each element is among them."""
    return UniqueInverseResult(*np_unique(x, return_inverse=True, equal_nan=False))


@implements(np.union1d)
def np_union1d(ar1: Any, ar2: Any) -> Tensor:
    """Return the unique elements of two arrays."""
    return np_unique(np.concatenate([np.ravel(as_array(ar1)), np.ravel(as_array(ar2))]))


@implements(np.intersect1d)
def np_intersect1d(ar1: Any, ar2: Any, assume_unique: bool = False, return_indices: bool = False) -> Any:
    """Return the elements of the first array that the second one has, too."""
    first, second = [value_of(as_array(a), "numpy.intersect1d") for a in (ar1, ar2)]
    _, i, j = np.intersect1d(first, second, assume_unique, return_indices=True)
    common = np.ravel(as_array(ar1))[i]
    return (common, i, j) if return_indices else common


@implements(np.setdiff1d)
def np_setdiff1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """Return the elements of the first array that the second one lacks."""
    rest = _without("numpy.setdiff1d", ar1, ar2)
    return rest if assume_unique else np_unique(rest)


@implements(np.setxor1d)
def np_setxor1d(ar1: Any, ar2: Any, assume_unique: bool = False) -> Tensor:
    """Return the elements that one of two arrays has."""
    name = "numpy.setxor1d"
    return np_unique(np.concatenate([_without(name, ar1, ar2), _without(name, ar2, ar1)]))


def _without(name: str, a: Any, others: Any) -> Tensor:
    a, others = np.ravel(as_array(a)), as_array(others)
    return a[~np.isin(value_of(a, name), value_of(others, name))]


# -- counts --------------------------------------------------------------------------------


@implements(np.bincount)
def np_bincount(x: Any, /, weights: Any = None, minlength: Any = 0) -> Any:
    """Count numbers, or add up weights, which carry a derivative; ``x`` is evaluated on the spot."""
    where = value_of(as_array(x), "numpy.bincount")
    if weights is None:
        return np.bincount(where, minlength=minlength)
    weights = as_tensor(as_array(weights), innermost((x, weights)))
    if where.ndim != 1 or weights.shape != where.shape:
        raise ShapeError(
            "The weights and list don't have the same length.",
            op="numpy.bincount",
            argument="weights",
            expected=f"the shape {where.shape}, 1-d",
            got=weights.shape,
            remedy="np.broadcast_to(weights, x.shape) repeats one weight",
        )
    if where.dtype.kind not in "iu":
        raise DTypeError(
            "only integers are counted",
            op="numpy.bincount",
            argument="x",
            expected="an integer dtype",
            got=where.dtype,
            remedy="round and convert it with astype",
        )
    if where.size and where.min() < 0:
        raise ArgumentError(
            "negative numbers are not counted",
            op="numpy.bincount",
            argument="x",
            expected="numbers of 0 or more",
            got=int(where.min()),
            remedy="count from the least number: x - x.min()",
        )
    refuse_complex("numpy.bincount", "weights", weights)
    length = max(int(where.max(initial=-1)) + 1, int(minlength))
    weights = np.astype(weights, np.float64)
    return index_add(np.zeros_like(weights, shape=(length,)), weights, where, index=("array",))
