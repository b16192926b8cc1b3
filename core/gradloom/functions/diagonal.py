"""Traced counterparts of NumPy's functions of diagonals and triangles, written from ops."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from gradloom.autodiff import zeros
from gradloom.axes import LETTERS
from gradloom.dispatch import implements, refuse
from gradloom.errors import AxisError, ShapeError
from gradloom.functions._arguments import axis_index
from gradloom.ops.contraction import einsum
from gradloom.ops.indexing import gather, index_set
from gradloom.ops.shape import reshape, transpose
from gradloom.spec import WHOLE, Spec

Tensor = Any


@implements(np.diag)
def np_diag(v: Tensor, k: Any = 0) -> Tensor:
    """Return the diagonal of a matrix, or a matrix with a diagonal."""
    if v.ndim == 2:
        return np.diagonal(v, k)
    if v.ndim != 1:
        raise _rank_error("numpy.diag", "a vector or a matrix", v)
    return np.diagflat(v, k)


@implements(np.diagflat)
def np_diagflat(v: Tensor, k: Any = 0) -> Tensor:
    """Return a matrix with a diagonal."""
    k = operator.index(k)
    v = reshape(v, shape=(v.size,)) if v.ndim != 1 else v
    if not k:
        return einsum(v, subscripts="i->ii")
    n = v.size + abs(k)
    rows = np.arange(v.size) + max(-k, 0)
    matrix = zeros(v._trace, Spec((n, n), v.dtype))
    return index_set(matrix, v, rows, rows + k, index=("array", "array"), unique=True)


@implements(np.diagonal)
def np_diagonal(a: Tensor, offset: Any = 0, axis1: Any = 0, axis2: Any = 1) -> Tensor:
    """Return the diagonals of the matrices along two axes."""
    return a._note_view(_diagonal("numpy.diagonal", a, offset, axis1, axis2), None)


def _diagonal(op: str, a: Tensor, offset: Any, axis1: Any, axis2: Any) -> Tensor:
    if a.ndim < 2:
        raise _rank_error(op, "an array of 2 or more axes", a)
    first, second = axis_index(op, axis1, a.ndim, "axis1"), axis_index(op, axis2, a.ndim, "axis2")
    if first == second:
        raise AxisError(
            "the axes of a diagonal must differ",
            op=op,
            argument="axis2",
            expected=f"an axis other than {first}",
            got=axis2,
        )
    offset = operator.index(offset)
    m, n = a.shape[first], a.shape[second]
    others = [k for k in range(a.ndim) if k not in (first, second)]
    if not offset and m == n:
        term = list(LETTERS[: a.ndim])
        term[second] = term[first]
        return einsum(a, subscripts=f"{''.join(term)}->{''.join([term[k] for k in (*others, first)])}")
    last = transpose(a, axes=(*others, first, second))
    rows = np.arange(max(min(m - max(-offset, 0), n - max(offset, 0)), 0)) + max(-offset, 0)
    index = (*[WHOLE] * (last.ndim - 2), "array", "array")
    return gather(last, rows, rows + offset, index=index, unique=True)


def _rank_error(op: str, expected: str, x: Tensor) -> ShapeError:
    return ShapeError(
        "wrong number of axes",
        op=op,
        argument="argument 0",
        expected=expected,
        got=x.shape,
        remedy="reshape the array, or index it first",
    )


@implements(np.trace)
def np_trace(a: Tensor, offset: Any = 0, axis1: Any = 0, axis2: Any = 1, dtype: Any = None, out: Any = None) -> Tensor:
    """Sum the diagonals of the matrices along two axes."""
    refuse("numpy.trace", out=out)
    diagonal = _diagonal("numpy.trace", a, offset, axis1, axis2)
    return np.sum(diagonal, axis=-1) if dtype is None else np.sum(diagonal, axis=-1, dtype=dtype)


@implements(np.tril)
def np_tril(m: Tensor, k: Any = 0) -> Tensor:
    """Set elements above a diagonal to zero."""
    return _triangle("numpy.tril", m, k, False)


@implements(np.triu)
def np_triu(m: Tensor, k: Any = 0) -> Tensor:
    """Set elements below a diagonal to zero."""
    return _triangle("numpy.triu", m, operator.index(k) - 1, True)


def _triangle(op: str, m: Tensor, k: Any, upper: bool) -> Tensor:
    if m.ndim == 0:
        raise _rank_error(op, "an array of 1 or more axes", m)
    shape = m.shape[-2:] if m.ndim > 1 else m.shape * 2
    lower = np.tri(shape[0], shape[1], k=operator.index(k), dtype=bool)
    return np.where(~lower if upper else lower, m, zeros(m._trace, Spec((), m.dtype)))


@implements(np.vander)
def np_vander(x: Tensor, N: Any = None, increasing: Any = False) -> Tensor:
    """Return the matrix of powers of a vector."""
    if x.ndim != 1:
        raise _rank_error("numpy.vander", "a vector", x)
    count = x.size if N is None else operator.index(N)
    x = np.astype(x, np.promote_types(x.dtype, int))
    powers = [np.ones_like(x)]
    for _ in range(count - 1):
        powers.append(powers[-1] * x)
    powers = powers[:count]
    if not powers:
        return zeros(x._trace, Spec((x.size, 0), x.dtype))
    return np.stack(powers if increasing else powers[::-1], axis=1)
