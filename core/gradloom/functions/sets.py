"""Traced counterparts of NumPy's functions on sets and counts, whose shapes depend on values.

The values are evaluated on the spot, which `jit` and `vmap` refuse; what is returned is taken
from the tensor, and so carries its derivative.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from gradloom.dispatch import implements
from gradloom.errors import ArgumentError, DTypeError, ShapeError
from gradloom.functions._arguments import as_array, as_tensor
from gradloom.functions.indexing import value_of
from gradloom.functions.reduction import flat, tensor_among
from gradloom.ops.indexing import index_add
from gradloom.trace import Handle, innermost

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
        )
    length = max(int(where.max(initial=-1)) + 1, int(minlength))
    weights = np.astype(weights, np.float64)
    return index_add(np.zeros_like(weights, shape=(length,)), weights, where, index=("array",))


@implements(np.ravel_multi_index)
def np_ravel_multi_index(multi_index: Any, dims: Any, mode: Any = "raise", order: Any = "C") -> Any:
    """Return flat positions from one position per axis; positions out of bounds are not looked for."""
    lengths = tuple(dims) if np.iterable(dims) else (dims,)
    modes = (mode,) * len(lengths) if isinstance(mode, str) else tuple(mode)
    total: Any = 0
    triples = list(zip(multi_index, lengths, modes, strict=True))
    for position, n, how in triples if order == "C" else triples[::-1]:
        if how not in ("raise", "wrap", "clip"):
            raise ArgumentError(
                "no such mode",
                op="numpy.ravel_multi_index",
                argument="mode",
                expected="'raise', 'wrap' or 'clip'",
                got=repr(how),
            )
        where = position % n if how == "wrap" else np.clip(position, 0, n - 1) if how == "clip" else position
        total = total * n + where
    return total


# -- what a shape tells --------------------------------------------------------------------


@implements(np.diag_indices_from)
def np_diag_indices_from(arr: Any) -> tuple[Any, ...]:
    """Return the positions of the main diagonal."""
    return np.diag_indices_from(np.broadcast_to(0, arr.shape))


@implements(np.tril_indices_from)
def np_tril_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Return the positions of the lower triangle."""
    return np.tril_indices_from(np.broadcast_to(0, arr.shape), k)


@implements(np.triu_indices_from)
def np_triu_indices_from(arr: Any, k: int = 0) -> tuple[Any, ...]:
    """Return the positions of the upper triangle."""
    return np.triu_indices_from(np.broadcast_to(0, arr.shape), k)


@implements(np.lexsort)
def np_lexsort(keys: Any, axis: Any = -1) -> Tensor:
    """Return the order by the last key, then the one before it, and so on."""
    rows = [tensor_among(as_array(key), *[k for k in keys if isinstance(k, Handle)]) for key in keys]
    order = np.argsort(rows[0], axis=axis, kind="stable")
    for row in rows[1:]:
        sorted_row = np.take_along_axis(row, order, axis=axis)
        order = np.take_along_axis(order, np.argsort(sorted_row, axis=axis, kind="stable"), axis=axis)
    return order
