"""Traced counterparts of NumPy's norms, written from ops.

Where a norm has no derivative its gradient is the subgradient of least length: zero at zero,
and shared evenly among ties.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from gradloom.dispatch import implements
from gradloom.errors import ArgumentError
from gradloom.functions._arguments import as_array, axis_tuple, reshaped
from gradloom.ops.decompositions import svd
from gradloom.ops.linalg import inv

Tensor = Any
Axes = tuple[int, ...]


@implements(np.linalg.norm)
def np_norm(x: Any, ord: Any = None, axis: Any = None, keepdims: bool = False) -> Tensor:
    x = as_inexact(x)
    axes = axis_tuple("numpy.linalg.norm", axis, x.ndim)
    if ord is None and (axis is None or len(axes) <= 2):
        return root_of_squares(x, axes, keepdims)
    if len(axes) == 1:
        return vector_norm(x, ord, axes, keepdims)
    if len(axes) == 2:
        return matrix_norm(x, ord, axes, keepdims)
    raise ArgumentError(
        "norms are of vectors or matrices",
        op="numpy.linalg.norm",
        argument="axis",
        expected="one or two axes",
        got=axes,
        remedy="use np.linalg.vector_norm for a norm over more axes",
    )


@implements(np.linalg.vector_norm)
def np_vector_norm(x: Any, /, *, axis: Any = None, keepdims: bool = False, ord: Any = 2) -> Tensor:
    x = as_inexact(x)
    return vector_norm(x, ord, axis_tuple("numpy.linalg.vector_norm", axis, x.ndim), keepdims)


@implements(np.linalg.matrix_norm)
def np_matrix_norm(x: Any, /, *, keepdims: bool = False, ord: Any = "fro") -> Tensor:
    x = as_inexact(x)
    return matrix_norm(x, ord, axis_tuple("numpy.linalg.matrix_norm", (-2, -1), x.ndim), keepdims)


@implements(np.linalg.cond)
def np_cond(x: Any, p: Any = None) -> Tensor:
    x = as_inexact(x)
    if p is None or p in (2, -2):
        values = svd(x)[1]
        return values[..., -1] / values[..., 0] if p == -2 else values[..., 0] / values[..., -1]
    return matrix_norm(x, p, (x.ndim - 2, x.ndim - 1), False) * matrix_norm(inv(x), p, (x.ndim - 2, x.ndim - 1), False)


def as_inexact(x: Any) -> Any:
    """Return an array as floats, unless it is float or complex already."""
    x = as_array(x)
    return x if x.dtype.kind in "fc" else np.astype(x, np.float64)


def root_of_squares(x: Any, axes: Axes, keepdims: bool) -> Tensor:
    """Return the Euclidean norm."""
    squares = np.real(x) ** 2 + np.imag(x) ** 2 if x.dtype.kind == "c" else x * x
    return _root(np.sum(squares, axis=axes, keepdims=keepdims), np.sqrt)


def _root(total: Any, root: Any) -> Tensor:
    """Return a root, with derivative zero at zero; there its own derivative is infinite."""
    zero = total == 0
    return np.where(zero, 0.0, root(np.where(zero, 1.0, total)))


def vector_norm(x: Any, ord: Any, axes: Axes, keepdims: bool) -> Tensor:
    """Return a norm of vectors that lie along some axes."""
    if ord is None or ord == 2:
        return root_of_squares(x, axes, keepdims)
    if isinstance(ord, str):
        raise _no_such_norm(ord, "a number, for vectors")
    size = np.abs(x)
    if ord == math.inf:
        return np.max(size, axis=axes, keepdims=keepdims)
    if ord == -math.inf:
        return np.min(size, axis=axes, keepdims=keepdims)
    if ord == 0:
        return np.sum(np.astype(x != 0, size.dtype), axis=axes, keepdims=keepdims)
    if ord == 1:
        return np.sum(size, axis=axes, keepdims=keepdims)
    powers = _root(size, lambda positive: positive**ord) if 0 < ord < 1 else size**ord
    total = np.sum(powers, axis=axes, keepdims=keepdims)
    return _root(total, lambda positive: positive ** (1 / ord)) if ord > 0 else total ** (1 / ord)


def matrix_norm(x: Any, ord: Any, axes: Axes, keepdims: bool) -> Tensor:
    """Return a norm of matrices that lie along two axes."""
    if ord is None or ord in ("fro", "f"):
        return root_of_squares(x, axes, keepdims)
    if ord in (1, -1, math.inf, -math.inf):
        summed, other = axes if abs(ord) == 1 else axes[::-1]
        totals = np.sum(np.abs(x), axis=summed, keepdims=True)
        found = (np.max if ord > 0 else np.min)(totals, axis=other, keepdims=True)
    elif ord in (2, -2, "nuc"):
        values = svd(np.moveaxis(x, axes, (-2, -1)))[1]
        found = np.sum(values, axis=-1) if ord == "nuc" else values[..., 0 if ord == 2 else -1]
    else:
        raise _no_such_norm(ord, "'fro', 'nuc', 1, -1, 2, -2, inf or -inf, for matrices")
    kept = tuple([1 if k in axes else n for k, n in enumerate(x.shape) if keepdims or k not in axes])
    return reshaped(found, kept)


def _no_such_norm(ord: Any, expected: str) -> ArgumentError:
    return ArgumentError("no such norm", op="numpy.linalg.norm", argument="ord", expected=expected, got=repr(ord))
