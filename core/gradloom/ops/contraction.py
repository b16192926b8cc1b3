"""Contractions: products summed over shared axes.

Their gradients are contractions again. In those a zero annihilates: where the (co)tangent is
exactly zero it contributes exactly zero, also beside inf and NaN, so that rows of data that
are masked out leave no trace. The contractions users write follow IEEE arithmetic.
"""

from __future__ import annotations

import math
from collections import Counter
from functools import reduce
from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.axes import LETTERS, Axes
from gradloom.dispatch import implements_ufunc
from gradloom.errors import ArgumentError, ShapeError
from gradloom.op import define
from gradloom.ops._elementwise import resolve_dtypes
from gradloom.ops.arithmetic import annihilating_multiply
from gradloom.ops.comparison import equal
from gradloom.ops.selection import where
from gradloom.ops.shape import arange, broadcast_to, reshape, transpose
from gradloom.spec import Spec, broadcast_shapes

Tensor = Any
Shape = tuple[int, ...]


def swap(x: Tensor) -> Tensor:
    """Return a stack of matrices with each one transposed."""
    n = x.spec.ndim
    return transpose(x, axes=(*range(n - 2), n - 1, n - 2))


# -- matmul --------------------------------------------------------------------------------


def matmul_promote(a: Spec, b: Spec) -> tuple[Any, ...]:
    return resolve_dtypes(np.matmul, "matmul", (a, b))[:2]


def matmul_spec(a: Spec, b: Spec) -> Spec:
    if not a.ndim or not b.ndim:
        raise ShapeError(
            "matmul takes no 0-d arrays",
            op="matmul",
            argument="a, b",
            expected="arrays with at least one axis",
            got=f"{a.shape} and {b.shape}",
            remedy="multiply with *",
        )
    inner = b.shape[-2] if b.ndim > 1 else b.shape[0]
    if a.shape[-1] != inner:
        raise ShapeError(
            "inner axes differ",
            op="matmul",
            argument="b",
            expected=f"a second array with {a.shape[-1]} {'rows' if b.ndim > 1 else 'elements'}",
            got=f"{a.shape} @ {b.shape}",
            remedy=_matmul_remedy(a, b),
        )
    try:
        loops = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ShapeError(
            "leading axes do not broadcast",
            op="matmul",
            argument="a, b",
            expected="equal lengths, or 1, on every axis before the last two",
            got=f"{a.shape} @ {b.shape}",
            remedy="give a missing leading axis with x[:, None]",
        ) from None
    return Spec(loops + a.shape[-2:-1] + (b.shape[-1:] if b.ndim > 1 else ()), np.result_type(a.dtype, b.dtype))


def _matmul_remedy(a: Spec, b: Spec) -> str | None:
    """Return which transposition makes two arrays fit."""
    if b.ndim > 1 and a.shape[-1] == b.shape[-1]:
        return "transpose the second array (.mT)"
    if a.ndim > 1 and a.shape[-2] == b.shape[-2 if b.ndim > 1 else 0]:
        return "transpose the first array (.mT)"
    return None


# With out = a @ b the cotangents are  ct @ b^T  and  a^T @ ct,  summed over broadcast axes
# (Giles 2008, section 2.2.1). A vector is a matrix with one row (left) or column (right); its
# products are written without building that matrix:
#
#   b a vector:  ct_a = outer(ct, b),   ct_b = sum of ct @ a over the leading axes
#   a a vector:  ct_a = b @ ct,         ct_b = outer(a, ct)


def matmul_transpose_a(cotangent: Tensor, a: Tensor, b: Tensor, **attrs: Any) -> Tensor:
    shape = cotangent.shape
    if b.ndim == 1:
        return annihilating_multiply(reshape(cotangent, shape=(*shape, 1)) if shape else cotangent, b)
    if a.ndim > 1:
        return unbroadcast(annihilating_matmul(cotangent, swap(b), zeros=0), a.spec)
    if b.ndim == 2:
        return annihilating_matmul(b, cotangent, zeros=1)
    column = annihilating_matmul(b, reshape(cotangent, shape=(*shape, 1)), zeros=1)
    return unbroadcast(reshape(column, shape=column.shape[:-1]), a.spec)


def matmul_transpose_b(cotangent: Tensor, a: Tensor, b: Tensor, **attrs: Any) -> Tensor:
    shape = cotangent.shape
    if a.ndim == 1:
        row = reshape(cotangent, shape=(*shape[:-1], 1, *shape[-1:])) if shape else cotangent
        return annihilating_multiply(row, reshape(a, shape=(*a.shape, 1)) if shape else a)
    if a.ndim > 2 and b.ndim <= 2:
        # One product over all leading axes, rather than one each and then a sum.
        rows = math.prod(a.shape[:-1])
        a = reshape(a, shape=(rows, a.shape[-1]))
        cotangent = reshape(cotangent, shape=(rows, *b.shape[1:]))
    if b.ndim == 1:
        return annihilating_matmul(cotangent, a, zeros=0)
    return unbroadcast(annihilating_matmul(swap(a), cotangent, zeros=1), b.spec)


def matmul_pushforward_a(tangent: Tensor, out: Tensor, a: Tensor, b: Tensor, **attrs: Any) -> Tensor:
    return annihilating_matmul(tangent, b, zeros=0)


def matmul_pushforward_b(tangent: Tensor, out: Tensor, a: Tensor, b: Tensor, **attrs: Any) -> Tensor:
    return annihilating_matmul(a, tangent, zeros=1)


def matmul_axes(a: Spec, b: Spec, **attrs: Any) -> Axes:
    rank = max(a.ndim, b.ndim, 2) - 2
    row = ("i",) if a.ndim > 1 else ()
    column = ("j",) if b.ndim > 1 else ()
    left = (*_loop_labels(a, rank), *row, "k")
    right = (*_loop_labels(b, rank), "k", *column)
    return Axes((left, right), (*range(rank), *row, *column))


def _loop_labels(x: Spec, rank: int) -> tuple[int | None, ...]:
    loops = max(x.ndim - 2, 0)
    return tuple([None if x.shape[k] == 1 else rank - loops + k for k in range(loops)])


def matmul_batch(size: int, batched: tuple[bool, ...], a: Tensor, b: Tensor, **attrs: Any) -> Tensor:
    """Batch a product: by one larger product if the other factor is shared, else by matrices."""
    product = annihilating_matmul if attrs else matmul
    rank_a, rank_b = a.ndim - batched[0], b.ndim - batched[1]
    if not batched[1] and rank_b <= 2:
        return product(a, b, **attrs)
    if not batched[0] and rank_b == 1 and rank_a <= 2 and not attrs:
        return product(b, swap(a) if rank_a == 2 else a)
    loops = max(rank_a, rank_b, 2) - 2
    if rank_a == 1:
        a = reshape(a, shape=(*a.shape[:-1], 1, a.shape[-1]))
    if rank_b == 1:
        b = reshape(b, shape=(*b.shape, 1))
    out = product(_with_loops(a, batched[0], loops), _with_loops(b, batched[1], loops), **attrs)
    shape = out.shape[: loops + 1] + out.shape[-2:-1] * (rank_a > 1) + out.shape[-1:] * (rank_b > 1)
    return reshape(out, shape=shape)


def _with_loops(x: Tensor, batched: bool, loops: int) -> Tensor:
    """Insert axes of length 1 behind the batch axis, so that the axes after it line up."""
    missing = loops + 2 + batched - x.ndim
    return reshape(x, shape=(x.shape[0], *(1,) * missing, *x.shape[1:])) if batched and missing else x


matmul = define(
    "matmul",
    spec=matmul_spec,
    promote=matmul_promote,
    transpose=(matmul_transpose_a, matmul_transpose_b),
    pushforward=(matmul_pushforward_a, matmul_pushforward_b),
    axes=matmul_axes,
    batch=matmul_batch,
)
implements_ufunc(matmul, np.matmul)


def annihilating_matmul_spec(a: Spec, b: Spec, *, zeros: int) -> Spec:
    return matmul_spec(a, b)


#: ``a @ b``, but the exact zeros of argument ``zeros`` contribute exactly zero.
annihilating_matmul = define(
    "annihilating_matmul",
    spec=annihilating_matmul_spec,
    promote=matmul_promote,
    transpose=(matmul_transpose_a, matmul_transpose_b),
    pushforward=(matmul_pushforward_a, matmul_pushforward_b),
    axes=matmul_axes,
    batch=matmul_batch,
)


# -- einsum --------------------------------------------------------------------------------


def einsum_promote(*specs: Spec, **attrs: Any) -> tuple[Any, ...]:
    return (np.result_type(*[s.dtype for s in specs]),) * len(specs)


def einsum_spec(*specs: Spec, subscripts: str, annihilates: int | None = None) -> Spec:
    terms, output = parse_subscripts(subscripts)
    if len(terms) != len(specs):
        raise ArgumentError(
            "subscripts and operands differ in number",
            op="einsum",
            argument="subscripts",
            expected=f"{len(specs)} terms",
            got=repr(subscripts),
        )
    lengths: dict[str, int] = {}
    for k, (term, spec) in enumerate(zip(terms, specs, strict=True)):
        if len(term) != spec.ndim:
            raise ShapeError(
                "subscripts and axes differ in number",
                op="einsum",
                argument=f"operand {k}",
                expected=f"an array with {len(term)} axes, one per letter of {term!r}",
                got=f"shape {spec.shape}",
                remedy="name each axis once, or let ... stand for those without a name",
            )
        for letter, n in zip(term, spec.shape, strict=True):
            if lengths.setdefault(letter, n) != n:
                raise ShapeError(
                    f"axes {letter!r} differ in length",
                    op="einsum",
                    argument=f"operand {k}",
                    expected=f"{lengths[letter]} along {letter!r} of {subscripts!r}",
                    got=f"shape {spec.shape}",
                    remedy="swap the letters of a matrix that lies across, or name the axis by another letter",
                )
    for letter in output:
        if letter not in lengths:
            raise ArgumentError(
                f"the output letter {letter!r} stands in no operand",
                op="einsum",
                argument="subscripts",
                expected="output letters that some operand has",
                got=repr(subscripts),
            )
    return Spec(tuple([lengths[letter] for letter in output]), specs[0].dtype)


def parse_subscripts(subscripts: str) -> tuple[list[str], str]:
    """Take explicit subscripts without ellipses apart: one term per operand, and the output."""
    left, output = subscripts.split("->")
    return left.split(","), output


# A contraction is linear in each operand,
#
#   out[o] = sum over the other letters of  prod_q x_q[t_q],
#
# so the cotangent of operand p is the contraction of the cotangent with all other operands,
# with t_p as output. A letter that is only in t_p was summed by itself: the cotangent is
# constant along it. A letter that stands twice in t_p took a diagonal: the cotangent belongs
# on that diagonal, which is what a repeated *output* letter means to this op.


def einsum_transpose(
    argument: int, cotangent: Tensor, *operands: Tensor, subscripts: str, annihilates: int | None
) -> Tensor:
    terms, output = parse_subscripts(subscripts)
    own = terms.pop(argument)
    letters = "".join(dict.fromkeys(own))
    known = "".join([letter for letter in letters if any(letter in term for term in (output, *terms))])
    target = own if known == letters else known
    others = operands[:argument] + operands[argument + 1 :]
    found = contract(f"{','.join((output, *terms))}->{target}", cotangent, *others, annihilates=0)
    if target == own:
        return found
    lengths = dict(zip(own, operands[argument].shape, strict=True))
    found = reshape(found, shape=tuple([lengths[letter] if letter in known else 1 for letter in letters]))
    found = broadcast_to(found, shape=tuple([lengths[letter] for letter in letters]))
    return contract(f"{letters}->{own}", found)


def einsum_pushforward(
    argument: int, tangent: Tensor, out: Tensor, *operands: Tensor, subscripts: str, annihilates: int | None
) -> Tensor:
    operands = (*operands[:argument], tangent, *operands[argument + 1 :])
    return contract(subscripts, *operands, annihilates=argument)


def contract(subscripts: str, *operands: Tensor, annihilates: int | None = None) -> Tensor:
    """Record an einsum; nothing if it changes nothing, an elementwise product if that is all."""
    terms, output = parse_subscripts(subscripts)
    if len(operands) == 1:
        if terms[0] == output and len(set(output)) == len(output):
            return operands[0]
        annihilates = None
    # Nothing is summed, and no axis moves.
    elif annihilates is not None and all("".join([x for x in output if x in term]) == term for term in terms):
        spread = [_spread(x, term, output) for x, term in zip(operands, terms, strict=True)]
        return reduce(annihilating_multiply, [spread.pop(annihilates), *spread])
    return einsum(*operands, subscripts=subscripts, annihilates=annihilates)


def _spread(x: Tensor, term: str, output: str) -> Tensor:
    """Return an operand with an axis of length 1 for each letter of the output that it has not got."""
    if not term or output.endswith(term):
        return x
    lengths = dict(zip(term, x.shape, strict=True))
    return reshape(x, shape=tuple([lengths.get(letter, 1) for letter in output]))


def einsum_axes(*specs: Spec, subscripts: str, annihilates: int | None) -> Axes:
    terms, output = parse_subscripts(subscripts)
    repeated = {letter for term in (*terms, output) for letter, n in Counter(term).items() if n > 1}

    def labels(term: str) -> tuple[str | None, ...]:
        return tuple([None if letter in repeated else letter for letter in term])

    return Axes(tuple([labels(term) for term in terms]), labels(output))


def einsum_batch(size: int, batched: tuple[bool, ...], *operands: Tensor, subscripts: str, **attrs: Any) -> Tensor:
    terms, output = parse_subscripts(subscripts)
    new = unused_letters(subscripts, 1)
    terms = [new * is_batched + term for is_batched, term in zip(batched, terms, strict=True)]
    return einsum(*operands, subscripts=f"{','.join(terms)}->{new}{output}", **attrs)


def unused_letters(subscripts: str, count: int) -> str:
    """Return letters that do not occur in subscripts."""
    free = [letter for letter in LETTERS if letter not in subscripts]
    if len(free) < count:
        raise ArgumentError(
            "more than 52 different axes",
            op="einsum",
            argument="subscripts",
            expected=f"at most {len(LETTERS) - count} letters",
            got=repr(subscripts),
            remedy="join axes with reshape first",
        )
    return "".join(free[:count])


def einsum_expansion(*operands: Tensor, subscripts: str, annihilates: int | None) -> Tensor:
    """Write out what places a vector on a diagonal."""
    terms, output = parse_subscripts(subscripts)
    if len(terms) > 1 or not terms[0] or output != terms[0] + terms[0][-1] or operands[0].dtype.kind != "f":
        return None
    (x,) = operands
    k = arange(x.shape[-1], like=x, dtype=x.dtype)
    on_it = equal(reshape(k, shape=(*k.shape, 1)), reshape(k, shape=(1, *k.shape)))
    return where(on_it, reshape(x, shape=(*x.shape, 1)), 0.0)


#: Explicit subscripts of single letters, no ellipsis, equal lengths for equal letters. A
#: letter repeated in the output places the result on a diagonal of zeros. Where operand
#: ``annihilates`` is exactly zero it contributes exactly zero.
einsum = define(
    "einsum",
    spec=einsum_spec,
    promote=einsum_promote,
    transpose=einsum_transpose,
    pushforward=einsum_pushforward,
    axes=einsum_axes,
    batch=einsum_batch,
    expansion=einsum_expansion,
)
