"""Kernels of the contraction ops."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.backend import Kernel, Specialised
from gradloom.blas import has_limit
from gradloom.memory import empty
from gradloom.sharing import share

#: Contractions of operands with at most this many elements in all skip the search for a
#: good order, which costs tens of microseconds.
SMALL = 1_000


#: Multiplications from which on a product of float64 is cut into pieces, and that one piece has:
#: a few times what it takes to wake a thread. Of float32 there are twice as many.
SHARED = 8_000_000
PIECE = 50_000_000
#: Multiplications from which on the result is worth memory that was used before.
LARGE = 500_000


def matmul(a: Any, b: Any) -> Any:
    """Multiply; large products in pieces that several threads take, where BLAS is held to one.

    The threads of BLAS itself wait busily for each other and for what comes next, which costs
    more than it gains where cores have other work.
    """
    if a.ndim < 2 or b.ndim < 2:
        return a @ b
    if a.shape[-1] == b.shape[-2] == 1:
        # NumPy takes ten times as long for the product of a column and a row.
        out = empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
        return np.add(np.multiply(a, b, out=out), out.dtype.type(0), out=out)  # a sum begins with 0.0
    if b.ndim > 2 and 16 * b.size <= a.size and not b.flags.c_contiguous:
        b = np.ascontiguousarray(b)  # BLAS takes transposed small matrices, but slowly
    if a.size * b.shape[-1] < LARGE or a.dtype != b.dtype:
        return a @ b
    out = empty((*np.broadcast_shapes(a.shape[:-2], b.shape[:-2]), a.shape[-2], b.shape[-1]), a.dtype)
    if a.size * b.shape[-1] * a.itemsize < 8 * SHARED or not has_limit():
        return np.matmul(a, b, out=out)
    _in_pieces(a, b, out)
    return out


def _in_pieces(a: Any, b: Any, out: Any) -> None:
    """Compute a product in pieces, cut by size alone, side by side."""
    multiplications = a.size * b.shape[-1]
    # Columns of a row-major result lie apart, which BLAS writes more slowly.
    axis = 0 if out.ndim > 2 else int(4 * out.shape[0] < out.shape[1])
    length = out.shape[axis]
    count = max(2, min(16, multiplications // PIECE, length))

    def work(k: int) -> None:
        part = slice(length * k // count, length * (k + 1) // count)
        if out.ndim > 2:
            left, right = [x[part] if x.ndim == out.ndim and x.shape[0] > 1 else x for x in (a, b)]
            np.matmul(left, right, out=out[part])
        elif axis == 0:
            np.matmul(a[part], b, out=out[part])
        else:
            np.matmul(a, b[:, part], out=out[:, part])

    share(count, work)


def annihilating_matmul(a: Any, b: Any, *, zeros: int) -> Any:
    """Multiply; exact zeros of one operand contribute exactly zero."""
    product = matmul(a, b)
    return _mended(operator.matmul, (a, b), zeros, product) if _has_nan(product) else product


def einsum(*, subscripts: str, annihilates: int | None) -> Kernel:
    """Return the kernel of fixed subscripts."""
    left, output = subscripts.split("->")
    unique = "".join(dict.fromkeys(output))
    plain = f"{left}->{unique}"

    def contract(*operands: Any) -> Any:
        small = len(operands) == 1 or sum([x.size for x in operands]) <= SMALL
        return np.einsum(plain, *operands, optimize=not small)

    def kernel(*operands: Any) -> Any:
        result = contract(*operands)
        if annihilates is not None and _has_nan(result):
            result = _mended(contract, operands, annihilates, result)
        if unique != output:
            return _on_diagonal(result, unique, output)
        # NumPy returns a view for a mere transposition or diagonal.
        return result.copy() if len(operands) == 1 and result.base is not None else result

    return kernel


def _on_diagonal(values: Any, letters: str, output: str) -> Any:
    """Return zeros with values on the diagonal that repeated letters name."""
    lengths = dict(zip(letters, values.shape, strict=True))
    result = np.zeros([lengths[letter] for letter in output], values.dtype)
    np.einsum(f"{output}->{letters}", result)[...] = values
    return result


def _has_nan(product: Any) -> bool:
    """Return whether a product holds NaN, in one pass: a sum of squares is NaN if an element is."""
    check = np.vdot(product, product)
    return bool(check != check)


def _mended(contract: Kernel, operands: Sequence[Any], zeros: int, product: Any) -> Any:
    """Return a product in which exact zeros of operand ``zeros`` contribute exactly zero.

    Only a product with NaN can need it. Elements that nothing nonzero reaches through inf or
    NaN come from the product of the finite elements; the others stay as they are, or of two real
    operands are made anew.
    """
    if len(operands) == 2 and product.dtype.kind == "f":
        return _annihilated(contract, operands, zeros).astype(product.dtype, copy=False)[()]
    finite = [np.isfinite(x) for x in operands]
    clean = [x if k == zeros else np.where(finite[k], x, 0) for k, x in enumerate(operands)]
    reached = np.zeros(np.shape(product), bool)
    for k in range(len(operands)):
        if k != zeros and not np.all(finite[k]):
            counts = [np.ones(np.shape(x)) for x in operands]
            counts[zeros] = np.asarray(operands[zeros] != 0, float)
            counts[k] = np.asarray(~finite[k], float)
            reached |= contract(*counts) > 0
    # With [()] a 0-d result is a scalar again.
    return np.where(reached, product, contract(*clean)).astype(product.dtype, copy=False)[()]


def _annihilated(contract: Kernel, operands: Sequence[Any], zeros: int) -> Any:
    """Return a product of two real operands in which exact zeros of operand ``zeros`` contribute exactly zero.

    To the product of the finite elements comes an infinity where an infinite term is added, and
    NaN where a NaN is.
    """

    def terms(of_zeros: Any, of_other: Any) -> Any:
        """Return where a sum has a term of two elements of some kinds."""
        kinds = [of_zeros, of_other] if zeros == 0 else [of_other, of_zeros]
        return contract(*[np.asarray(kind, float) for kind in kinds]) > 0

    z, x = operands[zeros], operands[1 - zeros]
    result = np.asarray(contract(*[np.where(np.isfinite(a), a, 0) for a in operands]))
    for sign in (1, -1):
        infinite = terms(z > 0, x == sign * np.inf) | terms(z < 0, x == -sign * np.inf)
        infinite |= terms(z == np.inf, sign * x > 0) | terms(z == -np.inf, sign * x < 0)
        result = np.where(infinite, result + sign * np.inf, result)
    undefined = terms(z != z, x == x) | terms(z != 0, x != x) | terms(np.isinf(z), x == 0)
    return np.where(undefined, np.nan, result)


KERNELS: dict[str, Kernel | Specialised] = {
    "matmul": matmul,
    "annihilating_matmul": annihilating_matmul,
    "einsum": Specialised(einsum),
}
