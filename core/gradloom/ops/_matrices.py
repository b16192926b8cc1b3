"""What the ops of matrices share: their dtypes, checks, and the pieces that their rules are written in."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.axes import LETTERS
from gradloom.errors import DTypeError, ShapeError
from gradloom.ops.complex import conjugate, real
from gradloom.ops.contraction import annihilating_matmul, contract, swap
from gradloom.ops.shape import arange, reshape
from gradloom.spec import Spec

Tensor = Any
Dtypes = tuple[np.dtype[Any], ...]


def promote(*specs: Spec) -> Dtypes:
    """Return the common dtype, float64 for integers; NumPy's linear algebra has no float16."""
    dtype = np.result_type(*[s.dtype for s in specs])
    if dtype.kind in "biu":
        dtype = np.dtype(np.float64)
    if dtype.char not in "fdFD":
        raise DTypeError(
            "no linear algebra in this precision",
            argument="a",
            expected="float32, float64, complex64 or complex128",
            got=dtype,
            remedy="convert the matrix with astype",
        )
    return (dtype,) * len(specs)


def check_matrix(x: Spec) -> None:
    """Raise unless a spec is that of a stack of matrices."""
    if x.ndim < 2:
        raise ShapeError(
            "not a matrix",
            argument="a",
            expected="an array with at least two axes",
            got=f"shape {x.shape}",
            remedy="make a column of it with x[:, None], or a row with x[None]",
        )


def check_square(x: Spec) -> None:
    """Raise unless a spec is that of a stack of square matrices."""
    check_matrix(x)
    if x.shape[-1] != x.shape[-2]:
        raise ShapeError(
            "not square",
            argument="a",
            expected="last two axes of equal length",
            got=f"shape {x.shape}",
            remedy="np.linalg.pinv, np.linalg.lstsq and np.linalg.svd take matrices of any shape",
        )


def square_spec(a: Spec) -> Spec:
    check_square(a)
    return a


def left(a: Tensor, t: Tensor) -> Tensor:
    """Return ``a @ t`` for a (co)tangent t."""
    return annihilating_matmul(a, t, zeros=1)


def right(t: Tensor, a: Tensor) -> Tensor:
    """Return ``t @ a`` for a (co)tangent t."""
    return annihilating_matmul(t, a, zeros=0)


def adjoint(x: Tensor) -> Tensor:
    """Return the conjugate transpose of each matrix."""
    return conjugate(swap(x)) if x.dtype.kind == "c" else swap(x)


def hermitian_part(t: Tensor) -> Tensor:
    """Return ``(t + t^H) / 2``."""
    return (t + adjoint(t)) * 0.5


def real_part(x: Tensor) -> Tensor:
    """Return the real part."""
    return real(x) if x.dtype.kind == "c" else x


def diagonals(x: Tensor) -> Tensor:
    """Return the diagonal of each matrix."""
    loops = LETTERS[: x.ndim - 2]
    return contract(f"{loops}yy->{loops}y", x)


def columns(x: Tensor) -> Tensor:
    """Return stacked vectors as matrices of one column."""
    return reshape(x, shape=(*x.shape, 1))


def rows(x: Tensor) -> Tensor:
    """Return stacked vectors as matrices of one row."""
    return reshape(x, shape=(*x.shape[:-1], 1, x.shape[-1]))


def numbers(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return for each element of a square matrix the number of its row, and that of its column, to be broadcast."""
    k = arange(x.shape[-1], like=x, dtype=x.dtype)
    return columns(k), rows(k)


def inner(t: Tensor, x: Tensor) -> Tensor:
    """Return the sum of ``t * x`` over the last two axes, for a (co)tangent t."""
    loops = LETTERS[: t.ndim - 2]
    return contract(f"{loops}yz,{loops}yz->{loops}", t, x, annihilates=0)
