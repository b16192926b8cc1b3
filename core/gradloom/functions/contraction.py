"""Traced counterparts of NumPy's products, written from ops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gradloom.axes import LETTERS, LOWER_CASE, UPPER_CASE
from gradloom.dispatch import implements, refuse
from gradloom.errors import ArgumentError, ShapeError
from gradloom.functions._arguments import as_array, axis_tuple, reshaped
from gradloom.ops.contraction import einsum, matmul, unused_letters

Tensor = Any


def conjugated(x: Any) -> Any:
    """Return the complex conjugate; a real array as it is."""
    return np.conjugate(x) if x.dtype.kind == "c" else x


# -- products of vectors and matrices ------------------------------------------------------


@implements(np.dot)
def np_dot(a: Any, b: Any, out: Any = None) -> Tensor:
    refuse("numpy.dot", out=out)
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        return np.multiply(a, b)
    return matmul(a, b) if b.ndim <= 2 or a.ndim == 1 else np_tensordot(a, b, (-1, -2))


@implements(np.vdot)
def np_vdot(a: Any, b: Any) -> Tensor:
    a, b = as_array(a), as_array(b)
    if a.size != b.size:
        raise ShapeError(
            "sizes differ",
            op="numpy.vdot",
            argument="b",
            expected=f"{a.size} elements",
            got=f"{b.size}",
            remedy="np.sum(np.conj(a) * b) broadcasts",
        )
    return matmul(conjugated(reshaped(a, (a.size,))), reshaped(b, (b.size,)))


@implements(np.inner)
def np_inner(a: Any, b: Any) -> Tensor:
    a, b = as_array(a), as_array(b)
    if not a.ndim or not b.ndim:
        return np.multiply(a, b)
    return np_tensordot(a, b, (-1, -1))


@implements(np.outer)
def np_outer(a: Any, b: Any, out: Any = None) -> Tensor:
    refuse("numpy.outer", out=out)
    a, b = as_array(a), as_array(b)
    return np.multiply(reshaped(a, (a.size, 1)), reshaped(b, (b.size,)))


def vecdot(x1: Any, x2: Any) -> Tensor:
    """Return the sums of ``conj(x1) * x2`` over the last axis."""
    x1, x2 = conjugated(as_array(x1)), as_array(x2)
    return matmul(x1, x2) if x1.ndim == x2.ndim == 1 else np_einsum("...i,...i->...", x1, x2)


def matvec(x1: Any, x2: Any) -> Tensor:
    """Return the products of stacked matrices and stacked vectors."""
    x1, x2 = as_array(x1), as_array(x2)
    if x2.ndim == 1:
        return matmul(x1, x2)
    product = matmul(x1, reshaped(x2, (*x2.shape, 1)))
    return reshaped(product, product.shape[:-1])


def vecmat(x1: Any, x2: Any) -> Tensor:
    """Return the products of conjugated stacked vectors and stacked matrices."""
    x1, x2 = conjugated(as_array(x1)), as_array(x2)
    if x1.ndim == 1:
        return matmul(x1, x2)
    product = matmul(reshaped(x1, (*x1.shape[:-1], 1, x1.shape[-1])), x2)
    return reshaped(product, product.shape[:-2] + product.shape[-1:])


implements(np.vecdot)(vecdot)
for _name, _counterpart in (("matvec", matvec), ("vecmat", vecmat)):
    if hasattr(np, _name):  # NumPy 2.2
        implements(getattr(np, _name))(_counterpart)


@implements(np.kron)
def np_kron(a: Any, b: Any) -> Tensor:
    a, b = as_array(a), as_array(b)
    rank = max(a.ndim, b.ndim)
    lengths_a = (1,) * (rank - a.ndim) + a.shape
    lengths_b = (1,) * (rank - b.ndim) + b.shape
    wide_a = reshaped(a, tuple([n for length in lengths_a for n in (length, 1)]))
    wide_b = reshaped(b, tuple([n for length in lengths_b for n in (1, length)]))
    return reshaped(np.multiply(wide_a, wide_b), tuple([m * n for m, n in zip(lengths_a, lengths_b, strict=True)]))


@implements(np.cross)
def np_cross(a: Any, b: Any, axisa: int = -1, axisb: int = -1, axisc: int = -1, axis: int | None = None) -> Tensor:
    if axis is not None:
        axisa = axisb = axisc = axis
    a, b = np.moveaxis(as_array(a), axisa, -1), np.moveaxis(as_array(b), axisb, -1)
    for name, x in (("a", a), ("b", b)):
        if x.shape[-1] != 3:
            raise ShapeError(
                "cross products are of vectors in three dimensions",
                op="numpy.cross",
                argument=name,
                expected="3 elements along the axis",
                got=f"{x.shape[-1]}",
                remedy="write x[..., 0] * y[..., 1] - x[..., 1] * y[..., 0] in two dimensions",
            )
    a0, a1, a2 = [a[..., k] for k in range(3)]
    b0, b1, b2 = [b[..., k] for k in range(3)]
    return np.moveaxis(np.stack([a1 * b2 - a2 * b1, a2 * b0 - a0 * b2, a0 * b1 - a1 * b0], axis=-1), -1, axisc)


# -- tensordot -----------------------------------------------------------------------------


@implements(np.tensordot)
def np_tensordot(a: Any, b: Any, axes: Any = 2) -> Tensor:
    a, b = as_array(a), as_array(b)
    axes_a, axes_b = _summed_axes(a, b, axes)
    if [a.shape[k] for k in axes_a] != [b.shape[k] for k in axes_b]:
        raise ShapeError(
            "summed axes differ in length",
            op="numpy.tensordot",
            argument="axes",
            expected="pairs of axes of equal length",
            got=f"axes {axes_a} of {a.shape} and {axes_b} of {b.shape}",
            remedy="name the axes that belong together: axes=([1], [0])",
        )
    letters_a = list(LETTERS[: a.ndim])
    letters_b = list(LETTERS[a.ndim : a.ndim + b.ndim])
    for j, k in zip(axes_a, axes_b, strict=True):
        letters_b[k] = letters_a[j]
    kept = [letter for k, letter in enumerate(letters_a) if k not in axes_a]
    kept += [letter for k, letter in enumerate(letters_b) if k not in axes_b]
    return einsum(a, b, subscripts=f"{''.join(letters_a)},{''.join(letters_b)}->{''.join(kept)}")


def _summed_axes(a: Any, b: Any, axes: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    if isinstance(axes, (int, np.integer)):
        if not 0 <= axes <= min(a.ndim, b.ndim):
            raise ArgumentError(
                "too many axes to sum",
                op="numpy.tensordot",
                argument="axes",
                expected=f"0 to {min(a.ndim, b.ndim)}",
                got=axes,
                remedy="name the axes: axes=([1], [0])",
            )
        return tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes))
    first, second = [[int(part)] if np.ndim(part) == 0 else [int(k) for k in part] for part in axes]
    if len(first) != len(second):
        raise ShapeError(
            "summed axes differ in number",
            op="numpy.tensordot",
            argument="axes",
            expected="as many axes of the first array as of the second",
            got=f"{len(first)} and {len(second)}",
            remedy="name axes that belong together in pairs: axes=([1, 0], [0, 1])",
        )
    return axis_tuple("numpy.tensordot", first, a.ndim, "axes"), axis_tuple("numpy.tensordot", second, b.ndim, "axes")


# -- einsum --------------------------------------------------------------------------------


@implements(np.einsum)
def np_einsum(*operands: Any, out: Any = None, optimize: Any = False, **kwargs: Any) -> Tensor:
    # ``optimize`` chooses the order of pairwise products only; the kernel chooses it anyway.
    refuse("numpy.einsum", out=out, dtype=kwargs.pop("dtype", None), order=(kwargs.pop("order", "K"), "K"))
    refuse("numpy.einsum", casting=(kwargs.pop("casting", "safe"), "safe"), **kwargs)
    subscripts, arrays = _from_text(operands) if isinstance(operands[0], str) else _from_lists(operands)
    terms, output = explicit_subscripts(subscripts, arrays)
    if len(arrays) == 1 and set(output) == set(*terms):
        return _arranged(arrays[0], terms[0], output)
    terms, arrays = _without_broadcast_axes(terms, arrays)
    return einsum(*arrays, subscripts=f"{','.join(terms)}->{output}")


def _arranged(x: Any, term: str, output: str) -> Tensor:
    """Return a view of an array with its axes in another order, or of its diagonals, as NumPy does."""
    if len(set(term)) == len(term):
        return np.transpose(x, [term.index(letter) for letter in output])
    out = einsum(x, subscripts=f"{term}->{output}")
    places = dict(zip(output, np.ogrid[tuple([slice(n) for n in out.shape])], strict=True))
    return x._note_view(out, tuple([places[letter] for letter in term]))


def _from_text(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    return operands[0].replace(" ", ""), [as_array(x) for x in operands[1:]]


def _from_lists(operands: Sequence[Any]) -> tuple[str, list[Any]]:
    """Turn ``(a, [0, 1], b, [1, 2], [0, 2])`` into text and arrays."""
    arrays = [as_array(x) for x in operands[: len(operands) // 2 * 2 : 2]]
    lists = [*operands[1::2], *([operands[-1]] if len(operands) % 2 else [])]
    numbers = sorted({int(k) for entry in lists for k in entry if k is not Ellipsis})
    letters = dict(zip(numbers, UPPER_CASE + LOWER_CASE, strict=False))
    words = ["".join(["..." if k is Ellipsis else letters[int(k)] for k in entry]) for entry in lists]
    text = ",".join(words[: len(arrays)])
    return text + (f"->{words[-1]}" if len(operands) % 2 else ""), arrays


def explicit_subscripts(subscripts: str, arrays: Sequence[Any]) -> tuple[list[str], str]:
    """Return one term per array and the output, all of single letters, as NumPy reads subscripts."""
    left, arrow, right = subscripts.partition("->")
    terms = left.split(",")
    if len(terms) != len(arrays):
        raise _bad_subscripts("subscripts and operands differ in number", f"{len(arrays)} terms", subscripts)
    letters = (left + right).replace("...", "").replace(",", "")
    if not all(letter in LETTERS for letter in letters):
        raise _bad_subscripts("not a subscript", "letters, commas, '...' and one '->'", subscripts)
    ranks = [x.ndim - len(term.replace("...", "")) for term, x in zip(terms, arrays, strict=True)]
    for k, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        if rank < 0 or (rank > 0 and "..." not in term):
            raise ShapeError(
                "subscripts and axes differ in number",
                op="numpy.einsum",
                argument=f"operand {k}",
                expected=f"an array with axes {term!r}",
                got=f"shape {arrays[k].shape}",
                remedy="name each axis once, or let ... stand for those without a name",
            )
    spread = unused_letters(subscripts, max([0, *[r for r, term in zip(ranks, terms, strict=True) if "..." in term]]))
    terms = [term.replace("...", spread[len(spread) - rank :]) for term, rank in zip(terms, ranks, strict=True)]
    if not arrow:
        right = "..." + "".join(sorted([letter for letter in set(letters) if letters.count(letter) == 1]))
    elif spread and "..." not in right:
        raise _bad_subscripts("broadcast axes are missing in the output", "'...' in the output", subscripts)
    output = right.replace("...", spread)
    if len(set(output)) < len(output):
        raise _bad_subscripts("a letter stands twice in the output", "different letters in the output", subscripts)
    return terms, output


def _bad_subscripts(message: str, expected: str, subscripts: str) -> ArgumentError:
    return ArgumentError(message, op="numpy.einsum", argument="subscripts", expected=expected, got=repr(subscripts))


def _without_broadcast_axes(terms: list[str], arrays: list[Any]) -> tuple[list[str], list[Any]]:
    """Drop axes of length 1 whose letter is longer in another array: these broadcast."""
    lengths: dict[str, int] = {}
    for term, x in zip(terms, arrays, strict=True):
        for letter, n in zip(term, x.shape, strict=True):
            lengths[letter] = n if lengths.get(letter, 1) == 1 else lengths[letter]
    new_terms, new_arrays = [], []
    for term, x in zip(terms, arrays, strict=True):
        longest = dict.fromkeys(term, 1) | {a: n for a, n in zip(term, x.shape, strict=True) if n != 1}
        kept = [k for k, letter in enumerate(term) if longest[letter] != 1 or lengths[letter] == 1]
        new_terms.append("".join([term[k] for k in kept]))
        new_arrays.append(x if len(kept) == x.ndim else reshaped(x, tuple([x.shape[k] for k in kept])))
    return new_terms, new_arrays
