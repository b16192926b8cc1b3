"""Kernels of the contraction ops."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import cupy
from cupy.lib.stride_tricks import as_strided

from gradloom.backend import Kernel, Specialised


def annihilating_matmul(a: Any, b: Any, *, zeros: int) -> Any:
    """Multiply; exact zeros of one operand contribute exactly zero."""
    return annihilate(operator.matmul, (a, b), zeros, a @ b)


def einsum(*, subscripts: str, annihilates: int | None) -> Kernel:
    """Return the kernel of fixed subscripts; letters may repeat in the output."""
    left, output = subscripts.split("->")
    unique = "".join(dict.fromkeys(output))
    plain = f"{left}->{unique}"

    def contract(*operands: Any) -> Any:
        return cupy.einsum(plain, *operands, optimize=len(operands) > 2)

    def kernel(*operands: Any) -> Any:
        result = contract(*operands)
        if annihilates is not None:
            result = annihilate(contract, operands, annihilates, result)
        if unique != output:
            return _on_diagonal(result, unique, output)
        # A mere transposition or diagonal is a view.
        return result.copy() if len(operands) == 1 else result

    return kernel


def _on_diagonal(values: Any, letters: str, output: str) -> Any:
    """Return zeros with values on the diagonal that repeated letters name."""
    lengths = dict(zip(letters, values.shape, strict=True))
    result = cupy.zeros(tuple([lengths[letter] for letter in output]), values.dtype)
    steps = dict.fromkeys(letters, 0)
    for letter, stride in zip(output, result.strides, strict=True):
        steps[letter] += stride
    as_strided(result, values.shape, tuple(steps.values()))[...] = values
    return result


def annihilate(contract: Kernel, operands: Sequence[Any], zeros: int, product: Any) -> Any:
    """Mend a product of operands: exact zeros of operand ``zeros`` contribute exactly zero.

    Only a product with NaN can need it; asking waits for the device. Elements that no nonzero
    (co)tangent reaches through inf or NaN are then taken from the product of the finite elements; the others stay
    as they are, or of two real operands are made anew.
    """
    if not bool(cupy.isnan(product).any()):
        return product
    if len(operands) == 2 and product.dtype.kind == "f":
        return _annihilated(contract, operands, zeros).astype(product.dtype, copy=False)
    finite = [cupy.isfinite(x) for x in operands]
    clean = [x if k == zeros else cupy.where(finite[k], x, x.dtype.type(0)) for k, x in enumerate(operands)]
    reached = cupy.zeros(product.shape, bool)
    for k in range(len(operands)):
        if k != zeros:
            counts = [cupy.ones(x.shape) for x in operands]
            counts[zeros] = (operands[zeros] != 0).astype(float)
            counts[k] = (~finite[k]).astype(float)
            reached |= contract(*counts) > 0
    return cupy.where(reached, product, contract(*clean)).astype(product.dtype, copy=False)


def _annihilated(contract: Kernel, operands: Sequence[Any], zeros: int) -> Any:
    """Return a product of two real operands in which exact zeros of operand ``zeros`` contribute exactly zero.

    To the product of the finite elements comes an infinity where an infinite term is added, and
    NaN where a NaN is.
    """

    def terms(of_zeros: Any, of_other: Any) -> Any:
        """Return where a sum has a term of two elements of some kinds."""
        kinds = [of_zeros, of_other] if zeros == 0 else [of_other, of_zeros]
        return contract(*[kind.astype(float) for kind in kinds]) > 0

    z, x = operands[zeros], operands[1 - zeros]
    inf = float("inf")
    result = contract(*[cupy.where(cupy.isfinite(a), a, a.dtype.type(0)) for a in operands])
    for sign in (1, -1):
        infinite = terms(z > 0, x == sign * inf) | terms(z < 0, x == -sign * inf)
        infinite |= terms(z == inf, sign * x > 0) | terms(z == -inf, sign * x < 0)
        result = cupy.where(infinite, result + sign * inf, result)
    undefined = terms(z != z, x == x) | terms(z != 0, x != x) | terms(cupy.isinf(z), x == 0)
    return cupy.where(undefined, result.dtype.type("nan"), result)


KERNELS: dict[str, Kernel | Specialised] = {
    "matmul": operator.matmul,
    "annihilating_matmul": annihilating_matmul,
    "einsum": Specialised(einsum),
}
