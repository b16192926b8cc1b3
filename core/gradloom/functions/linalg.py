"""Traced counterparts of numpy.linalg, written from ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple, NoReturn

import numpy as np

from gradloom.dispatch import implements, name_of, refuse
from gradloom.errors import ArgumentError, ConcreteValueError, ShapeError, UnsupportedFunctionError
from gradloom.functions._arguments import as_array, reshaped
from gradloom.functions.contraction import np_cross, np_outer, np_tensordot, vecdot
from gradloom.functions.indexing import value_of
from gradloom.handle import Handle
from gradloom.ops._matrices import adjoint, check_matrix, check_square
from gradloom.ops.complex import conjugate
from gradloom.ops.contraction import matmul
from gradloom.ops.decompositions import cholesky, eig, eigh, pinv, qr, svd
from gradloom.ops.linalg import det, inv, slogdet, solve, solve_triangular
from gradloom.ops.shape import transpose
from gradloom.refusals import describe

Tensor = Any


class SlogdetResult(NamedTuple):
    """Sign and logarithm of the absolute value of a determinant."""

    sign: Tensor
    logabsdet: Tensor


class EigResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class EighResult(NamedTuple):
    """Eigenvalues and eigenvectors."""

    eigenvalues: Tensor
    eigenvectors: Tensor


class QRResult(NamedTuple):
    """Factors of a QR factorisation."""

    Q: Tensor
    R: Tensor


class SVDResult(NamedTuple):
    """Factors of a singular value decomposition."""

    U: Tensor
    S: Tensor
    Vh: Tensor


# -- systems of equations ------------------------------------------------------------------


@implements(np.linalg.solve)
def np_solve(a: Any, b: Any) -> Tensor:
    a, b = as_array(a), as_array(b)
    columns = reshaped(b, (*b.shape, 1)) if b.ndim == 1 else b
    lower = _is_lower_factor(a)
    x = solve(a, columns) if lower is None else solve_triangular(a, columns, lower=lower)
    return reshaped(x, x.shape[:-1]) if b.ndim == 1 else x


def _is_lower_factor(a: Tensor) -> bool | None:
    """Return whether a matrix is a Cholesky factor, True, or the transpose of one, False; None for any other."""
    if not isinstance(a, Handle):
        return None
    n, lower = a.spec.ndim, True
    op, inputs, attrs = a._trace.definition(a._index)
    while op is not cholesky:
        if op is transpose and attrs[0] == (*range(n - 2), n - 1, n - 2):
            lower = not lower
        elif op is not conjugate:
            return None
        op, inputs, attrs = a._trace.definition(inputs[0])
    return lower


@implements(np.linalg.inv)
def np_inv(a: Any) -> Tensor:
    return inv(a)


@implements(np.linalg.pinv)
def np_pinv(a: Any, rcond: Any = None, hermitian: bool = False, *, rtol: Any = None) -> Tensor:
    refuse("numpy.linalg.pinv", hermitian=(hermitian, False))
    rtol = None if rtol is None or rtol is np._NoValue else rtol
    cutoff = rcond if rcond is not None else rtol
    if cutoff is not None and np.ndim(cutoff):
        refuse("numpy.linalg.pinv", rcond=cutoff)
    return pinv(a, rcond=None if cutoff is None else float(cutoff))


@implements(np.linalg.lstsq)
def np_lstsq(a: Any, b: Any, rcond: Any = None) -> tuple[Tensor, Tensor, Any, Tensor]:
    a, b = as_array(a), as_array(b)
    values = np.linalg.svd(a, compute_uv=False)
    cutoff = max(a.shape) * float(np.finfo(values.dtype).eps) if rcond is None else rcond
    rank = np.sum(values > cutoff * np.max(values))
    with suppress(ConcreteValueError):  # where values are not known the rank is a tensor, too
        rank = int(value_of(rank, "numpy.linalg.lstsq"))
    if isinstance(rank, int) and rank < min(a.shape):
        raise UnsupportedFunctionError(
            "no least squares with a rank-deficient matrix",
            op="numpy.linalg.lstsq",
            argument="a",
            expected=f"rank {min(a.shape)}",
            got=f"rank {rank}",
            remedy="use np.linalg.pinv(a) @ b",
        )
    x = np.matmul(np.linalg.pinv(a), b)
    rest = b - np.matmul(a, x)
    square = (np.conjugate(rest) * rest if rest.dtype.kind == "c" else rest * rest).sum(axis=0)
    residuals = np.atleast_1d(np.real(square)) if a.shape[0] > a.shape[1] else np.zeros(0, values.dtype)
    return x, residuals, rank, values


@implements(np.linalg.tensorinv)
def np_tensorinv(a: Any, ind: int = 2) -> Tensor:
    if ind <= 0:
        raise ArgumentError(
            "no axes to invert", op="numpy.linalg.tensorinv", argument="ind", expected="1 or more", got=ind
        )
    size = math.prod(a.shape[ind:])
    return reshaped(inv(reshaped(a, (size, size))), a.shape[ind:] + a.shape[:ind])


@implements(np.linalg.tensorsolve)
def np_tensorsolve(a: Any, b: Any, axes: Any = None) -> Tensor:
    refuse("numpy.linalg.tensorsolve", axes=axes)
    a, b = as_array(a), as_array(b)
    x = solve(reshaped(a, (b.size, b.size)), reshaped(b, (b.size, 1)))
    return reshaped(x, a.shape[b.ndim :])


# -- determinants --------------------------------------------------------------------------


@implements(np.linalg.det)
def np_det(a: Any) -> Tensor:
    return det(a)


@implements(np.linalg.slogdet)
def np_slogdet(a: Any) -> SlogdetResult:
    return SlogdetResult(*slogdet(a))


# -- factorisations ------------------------------------------------------------------------


@implements(np.linalg.cholesky)
def np_cholesky(a: Any, /, *, upper: bool = False) -> Tensor:
    # The upper factor reads the upper triangle.
    return adjoint(cholesky(adjoint(a))) if upper else cholesky(a)


def _is_lower(function: str, UPLO: Any) -> bool:
    if UPLO not in ("L", "l", "U", "u"):
        raise ArgumentError("no such triangle", op=function, argument="UPLO", expected="'L' or 'U'", got=repr(UPLO))
    return UPLO in ("L", "l")


@implements(np.linalg.eigh)
def np_eigh(a: Any, UPLO: str = "L") -> EighResult:
    return EighResult(*eigh(a, lower=_is_lower("numpy.linalg.eigh", UPLO)))


@implements(np.linalg.eigvalsh)
def np_eigvalsh(a: Any, UPLO: str = "L") -> Tensor:
    return eigh(a, lower=_is_lower("numpy.linalg.eigvalsh", UPLO))[0]


@implements(np.linalg.eig)
def np_eig(a: Any) -> EigResult:
    """Return eigenvalues and eigenvectors; both are complex, also where NumPy finds them to be real."""
    return EigResult(*eig(a))


@implements(np.linalg.eigvals)
def np_eigvals(a: Any) -> Tensor:
    """Return eigenvalues; they are complex, also where NumPy finds them to be real."""
    return eig(a)[0]


@implements(np.linalg.qr)
def np_qr(a: Any, mode: str = "reduced") -> Any:
    if mode == "r":
        return _qr(a)[1]
    refuse("numpy.linalg.qr", mode=(mode, "reduced"))
    return QRResult(*_qr(a))


def _qr(a: Tensor) -> tuple[Tensor, Tensor]:
    check_matrix(a.spec)
    m, n = a.shape[-2:]
    if m >= n:
        return tuple(qr(a))
    # Of a wide matrix the first columns fix Q; the others are Q @ R too.
    q, r = qr(a[..., :m])
    return q, np.concatenate([r, matmul(adjoint(q), a[..., m:])], axis=-1)


@implements(np.linalg.svd)
def np_svd(a: Any, full_matrices: bool = True, compute_uv: bool = True, hermitian: bool = False) -> Any:
    refuse("numpy.linalg.svd", hermitian=(hermitian, False))
    if not compute_uv:
        return svd(a)[1]
    if full_matrices and a.shape[-1:] != a.shape[-2:-1]:
        raise UnsupportedFunctionError(
            "the columns that fill up U or Vh have no derivative",
            op="numpy.linalg.svd",
            argument="full_matrices",
            expected="False",
            got="True",
            remedy="pass full_matrices=False",
        )
    return SVDResult(*svd(a))


@implements(np.linalg.svdvals)
def np_svdvals(x: Any, /) -> Tensor:
    return svd(x)[1]


def _refuse_function(function: Any, remedy: str) -> None:
    """Register a NumPy function as one that has no traced counterpart, and say what to use."""

    def refused(*args: Any, **kwargs: Any) -> NoReturn:
        raise UnsupportedFunctionError(
            "this function has no traced counterpart",
            op=name_of(function),
            argument="argument 0",
            expected="an array outside traced functions",
            got=describe(args[0]) if args else None,
            remedy=remedy,
        )

    implements(function)(refused)


_refuse_function(np.linalg.matrix_rank, "compute the rank outside the traced function; it has no derivative")


# -- products ------------------------------------------------------------------------------


@implements(np.linalg.matrix_power)
def np_matrix_power(a: Any, n: int) -> Tensor:
    check_square(a.spec)
    if not isinstance(n, (int, np.integer)):
        raise ArgumentError(
            "the exponent must be an integer",
            op="numpy.linalg.matrix_power",
            argument="n",
            expected="an int",
            got=repr(n),
            remedy="give a Python int (static_argnums under jit); use np.linalg.eigh for other powers",
        )
    if n == 0:
        return np.broadcast_to(np.eye(a.shape[-1], dtype=a.dtype), a.shape) + np.zeros_like(a)
    base = inv(a) if n < 0 else a
    # Repeated squaring, from the lowest bit of n up.
    result = None
    n = abs(n)
    while True:
        if n % 2:
            result = base if result is None else matmul(result, base)
        n //= 2
        if not n:
            return result
        base = matmul(base, base)


@implements(np.linalg.multi_dot)
def np_multi_dot(arrays: Sequence[Any], *, out: Any = None) -> Tensor:
    refuse("numpy.linalg.multi_dot", out=out)
    factors = [as_array(x) for x in arrays]
    if len(factors) < 2 or any(x.ndim != 2 for x in factors[1:-1]) or not {factors[0].ndim, factors[-1].ndim} <= {1, 2}:
        raise ShapeError(
            "not a chain of matrices",
            op="numpy.linalg.multi_dot",
            argument="arrays",
            expected="two or more matrices; the first and last may be vectors",
            got=[x.shape for x in factors],
            remedy="multiply stacks of matrices with @",
        )
    sizes = [1 if factors[0].ndim == 1 else factors[0].shape[0], *[x.shape[0] for x in factors[1:]]]
    sizes.append(1 if factors[-1].ndim == 1 else factors[-1].shape[1])
    return _chain(factors, _best_splits(sizes), 0, len(factors) - 1)


def _best_splits(sizes: Sequence[int]) -> dict[tuple[int, int], int]:
    """Return where to split each part of a chain of matrices for the fewest multiplications."""
    count = len(sizes) - 1
    cost = {(i, i): 0 for i in range(count)}
    best: dict[tuple[int, int], int] = {}
    for length in range(1, count):
        for i in range(count - length):
            j = i + length
            costs = [cost[i, k] + cost[k + 1, j] + sizes[i] * sizes[k + 1] * sizes[j + 1] for k in range(i, j)]
            cost[i, j] = min(costs)
            best[i, j] = i + costs.index(cost[i, j])
    return best


def _chain(factors: Sequence[Any], splits: dict[tuple[int, int], int], i: int, j: int) -> Any:
    if i == j:
        return factors[i]
    k = splits[i, j]
    return np.matmul(_chain(factors, splits, i, k), _chain(factors, splits, k + 1, j))


@implements(np.linalg.matmul)
def np_linalg_matmul(x1: Any, x2: Any, /) -> Tensor:
    return matmul(as_array(x1), as_array(x2))


@implements(np.linalg.vecdot)
def np_linalg_vecdot(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    return vecdot(np.moveaxis(as_array(x1), axis, -1), np.moveaxis(as_array(x2), axis, -1))


@implements(np.linalg.outer)
def np_linalg_outer(x1: Any, x2: Any, /) -> Tensor:
    x1, x2 = as_array(x1), as_array(x2)
    if x1.ndim != 1 or x2.ndim != 1:
        raise ShapeError(
            "not vectors",
            op="numpy.linalg.outer",
            argument="x1, x2",
            expected="two 1-d arrays",
            got=f"shapes {x1.shape} and {x2.shape}",
            remedy="use np.outer, which flattens",
        )
    return np_outer(x1, x2)


@implements(np.linalg.cross)
def np_linalg_cross(x1: Any, x2: Any, /, *, axis: int = -1) -> Tensor:
    return np_cross(x1, x2, axis=axis)


@implements(np.linalg.tensordot)
def np_linalg_tensordot(x1: Any, x2: Any, /, *, axes: Any = 2) -> Tensor:
    return np_tensordot(x1, x2, axes)


# -- parts of matrices ---------------------------------------------------------------------


@implements(np.linalg.matrix_transpose)
def np_linalg_matrix_transpose(x: Any, /) -> Tensor:
    check_matrix(x.spec)
    return np.matrix_transpose(x)


@implements(np.linalg.diagonal)
def np_linalg_diagonal(x: Any, /, *, offset: int = 0) -> Tensor:
    return np.diagonal(x, offset, -2, -1)


@implements(np.linalg.trace)
def np_linalg_trace(x: Any, /, *, offset: int = 0, dtype: Any = None) -> Tensor:
    return np.trace(x, offset, -2, -1, dtype)
