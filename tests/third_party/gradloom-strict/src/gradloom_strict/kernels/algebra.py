"""Contractions and linear algebra."""

from __future__ import annotations

from functools import reduce
from operator import mul
from typing import Any

import array_api_strict as xp

from gradloom_strict.arrays import arange, device, full, kind


def eye(n: int, m: int | None = None) -> Any:
    """Return a mask of the diagonal."""
    return xp.eye(n, m, dtype=xp.int64, device=device()) == 1


def matmul(a: Any, b: Any) -> Any:
    """Return a product; the array API has none of booleans."""
    if xp.isdtype(xp.result_type(a, b), "bool"):
        return xp.astype(xp.astype(a, xp.int64) @ xp.astype(b, xp.int64), xp.bool)
    return a @ b


def annihilating_matmul(a: Any, b: Any, *, zeros: int) -> Any:
    rows = xp.expand_dims(a, axis=0) if a.ndim == 1 else a
    columns = xp.expand_dims(b, axis=-1) if b.ndim == 1 else b
    left, right = xp.expand_dims(rows, axis=-1), xp.expand_dims(columns, axis=-3)
    product = _terms(left, right) if zeros == 0 else _terms(right, left)
    result = xp.sum(product, axis=-2)
    result = xp.squeeze(result, axis=-1) if b.ndim == 1 else result
    return xp.squeeze(result, axis=-2 if b.ndim > 1 else -1) if a.ndim == 1 else result


def _terms(zeros: Any, other: Any) -> Any:
    """Multiply; exact zeros of the first make zero, whatever the other is."""
    product = zeros * other
    return xp.where(zeros == 0, full((), 0, product.dtype), product)


def einsum(*operands: Any, subscripts: str, annihilates: int | None) -> Any:
    left, output = subscripts.split("->")
    terms = left.split(",")
    letters = "".join(dict.fromkeys(left.replace(",", "") + output))
    factors = [_spread(x, term, letters) for x, term in zip(operands, terms, strict=True)]
    if annihilates is None:
        product = reduce(mul, factors)
    else:
        others = [f for k, f in enumerate(factors) if k != annihilates]
        product = _terms(factors[annihilates], reduce(mul, others)) if others else factors[0]
    # The one-hot axes of repeated letters made the letters' own axes, so what is left is a sum.
    summed = tuple([k for k, letter in enumerate(letters) if letter not in output])
    dtype = product.dtype
    result = xp.astype(xp.sum(product, axis=summed), dtype) if summed else product
    kept = [letter for letter in letters if letter in output]
    unique = list(dict.fromkeys(output))
    result = xp.permute_dims(result, tuple([kept.index(letter) for letter in unique]))
    return _onto_diagonals(result, unique, output)


def _spread(x: Any, term: str, letters: str) -> Any:
    """Return an operand with one axis per letter, of length 1 for letters it lacks."""
    for letter in dict.fromkeys(term):
        while term.count(letter) > 1:
            first = term.index(letter)
            second = term.index(letter, first + 1)
            x = xp.moveaxis(x, (first, second), (-2, -1))
            x = xp.linalg.diagonal(x)
            rest = [c for k, c in enumerate(term) if k not in (first, second)]
            term = "".join([*rest, letter])
    order = [letter for letter in letters if letter in term]
    x = xp.permute_dims(x, tuple([term.index(letter) for letter in order]))
    lengths = dict(zip(order, x.shape, strict=True))
    return xp.reshape(x, tuple([lengths.get(letter, 1) for letter in letters]))


def _onto_diagonals(x: Any, unique: list[str], output: str) -> Any:
    lengths = dict(zip(unique, x.shape, strict=True))
    shape = tuple([lengths[letter] for letter in output])
    firsts = [output.index(letter) for letter in unique]
    x = xp.reshape(x, tuple([shape[k] if k in firsts else 1 for k in range(len(output))]))
    for k, letter in enumerate(output):
        if k not in firsts:
            rows, columns = ([1] * len(output) for _ in range(2))
            rows[output.index(letter)] = columns[k] = lengths[letter]
            steps = arange(lengths[letter])
            same = xp.reshape(steps, tuple(rows)) == xp.reshape(steps, tuple(columns))
            x = xp.where(same, x, full((), 0, x.dtype))
    return x


def solve(a: Any, b: Any) -> Any:
    leading = xp.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return xp.linalg.solve(xp.broadcast_to(a, leading + a.shape[-2:]), xp.broadcast_to(b, leading + b.shape[-2:]))


def annihilating_solve(a: Any, b: Any) -> Any:
    x = solve(a, b)
    unasked = xp.logical_and(xp.isnan(x), xp.all(b == 0, axis=-2, keepdims=True))
    return xp.where(unasked, full((), 0, x.dtype), x)


def _one_triangle(a: Any, lower: bool) -> Any:
    return xp.tril(a) if lower else xp.triu(a)


def solve_triangular(a: Any, b: Any, *, lower: bool) -> Any:
    return solve(_one_triangle(a, lower), b)


def annihilating_solve_triangular(a: Any, b: Any, *, lower: bool) -> Any:
    return annihilating_solve(_one_triangle(a, lower), b)


def lower_triangle(x: Any, *, diagonal: float) -> Any:
    kept = xp.tril(x, k=-1)
    return xp.where(eye(*x.shape[-2:]), x * diagonal, kept) if diagonal else kept


def inverse_gaps(w: Any) -> Any:
    gaps = xp.expand_dims(w, axis=-2) - xp.expand_dims(w, axis=-1)
    return xp.where(eye(w.shape[-1]), full((), 0, w.dtype), 1 / gaps)


def cofactors(a: Any) -> Any:
    finite = xp.all(xp.isfinite(a), axis=(-2, -1), keepdims=True)
    u, s, vh = xp.linalg.svd(xp.where(finite, a, full((), 0, a.dtype)), full_matrices=False)
    spread = xp.where(eye(s.shape[-1]), full((), 1, s.dtype), xp.expand_dims(s, axis=-2))
    others = xp.astype(xp.prod(spread, axis=-1), a.dtype)
    phase = xp.linalg.det(u) * xp.linalg.det(vh)
    if kind(a) == "c":
        u, vh = xp.conj(u), xp.conj(vh)
    phase = xp.expand_dims(xp.expand_dims(phase, axis=-1), axis=-1)
    out = phase * ((u * xp.expand_dims(others, axis=-2)) @ vh)
    return xp.where(finite, out, full((), float("nan"), out.dtype))


def adjoint(x: Any) -> Any:
    x = xp.matrix_transpose(x)
    return xp.conj(x) if kind(x) == "c" else x


def cofactor_changes(a: Any, t: Any) -> Any:
    finite = xp.all(xp.isfinite(a), axis=(-2, -1), keepdims=True)
    u, s, vh = xp.linalg.svd(xp.where(finite, a, full((), 0, a.dtype)), full_matrices=False)
    products = xp.astype(without_two(s), a.dtype)
    inside = adjoint(u) @ t @ adjoint(vh)
    sums = products @ xp.expand_dims(xp.linalg.diagonal(inside), axis=-1)
    change = xp.where(eye(s.shape[-1]), sums, -xp.matrix_transpose(inside) * products)
    phase = xp.linalg.det(u) * xp.linalg.det(vh)
    phase = xp.expand_dims(xp.expand_dims(phase, axis=-1), axis=-1)
    out = phase * (xp.matrix_transpose(adjoint(u)) @ change @ xp.matrix_transpose(adjoint(vh)))
    nothing = xp.all(t == 0, axis=(-2, -1), keepdims=True)
    return xp.where(xp.logical_or(finite, nothing), out, full((), float("nan"), out.dtype))


def without_two(s: Any) -> Any:
    n = s.shape[-1]
    columns = []
    for i in range(n):
        row = []
        for j in range(n):
            others = [k for k in range(n) if k not in (i, j)]
            one = xp.ones_like(s[..., 0])
            row.append(reduce(mul, [s[..., k] for k in others], one) if i != j else one * 0)
        columns.append(xp.stack(row, axis=-1))
    return xp.stack(columns, axis=-2) if n else xp.zeros((*s.shape, 0), dtype=s.dtype, device=device())


def eigh(a: Any, *, lower: bool) -> tuple[Any, Any]:
    if not lower:  # the standard reads the lower triangle
        a = xp.matrix_transpose(a)
        a = xp.conj(a) if kind(a) == "c" else a
    return tuple(xp.linalg.eigh(a))


def pinv(a: Any, *, rcond: float | None) -> Any:
    return xp.linalg.pinv(a, rtol=1e-15 if rcond is None else rcond)


KERNELS: dict[str, Any] = {
    "matmul": matmul,
    "annihilating_matmul": annihilating_matmul,
    "einsum": einsum,
    "inv": xp.linalg.inv,
    "solve": solve,
    "annihilating_solve": annihilating_solve,
    "solve_triangular": solve_triangular,
    "annihilating_solve_triangular": annihilating_solve_triangular,
    "det": xp.linalg.det,
    "slogdet": lambda a: tuple(xp.linalg.slogdet(a)),
    "inv_slogdet": lambda a: (xp.linalg.inv(a), *xp.linalg.slogdet(a)),
    "cofactors": cofactors,
    "cofactor_changes": cofactor_changes,
    "cholesky": xp.linalg.cholesky,
    "eigh": eigh,
    "qr": lambda a: tuple(xp.linalg.qr(a)),
    "svd": lambda a: tuple(xp.linalg.svd(a, full_matrices=False)),
    "pinv": pinv,
    "lower_triangle": lower_triangle,
    "inverse_gaps": inverse_gaps,
}
