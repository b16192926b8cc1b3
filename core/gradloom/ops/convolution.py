"""Convolution of rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from gradloom.autodiff import unbroadcast
from gradloom.errors import ShapeError
from gradloom.op import define
from gradloom.ops._elementwise import broadcast_shape, result_dtype
from gradloom.ops.shape import flip
from gradloom.spec import Spec

Tensor = Any


def convolve_promote(a: Spec, v: Spec) -> tuple[np.dtype[Any], ...]:
    return (result_dtype("convolve", a, v),) * 2


def convolve_spec(a: Spec, v: Spec, *, full: bool) -> Spec:
    if not a.ndim or not v.ndim or not a.shape[-1] or not v.shape[-1] or (not full and a.shape[-1] < v.shape[-1]):
        raise ShapeError(
            "rows that cannot be convolved",
            argument="a, v",
            expected="rows of at least one element" if full else "rows of at least one element, the first as long",
            got=f"shapes {a.shape} and {v.shape}",
        )
    m, n = a.shape[-1], v.shape[-1]
    rows = broadcast_shape("convolve", a.shape[:-1], v.shape[:-1])
    return a.with_shape((*rows, m + n - 1 if full else m - n + 1))


# y_k = sum_j a_(k-j) v_j, over all k or over those where every j counts. So
# ct_a,i = sum_k ct_k v_(k-i)  is the other kind of convolution with the reversed v, and
# ct_v,j = sum_k ct_k a_(k-j)  one with the reversed a.


def convolve_transpose_a(cotangent: Tensor, a: Tensor, v: Tensor, *, full: bool) -> Tensor:
    return unbroadcast(convolve(cotangent, reverse(v), full=not full), a.spec)


def convolve_transpose_v(cotangent: Tensor, a: Tensor, v: Tensor, *, full: bool) -> Tensor:
    if full:
        return unbroadcast(convolve(cotangent, reverse(a), full=False), v.spec)
    return unbroadcast(reverse(convolve(a, reverse(cotangent), full=False)), v.spec)


def reverse(x: Tensor) -> Tensor:
    """Return rows in reverse order."""
    return flip(x, axis=(x.ndim - 1,))


#: Convolution of the last axes; ``full``: with partial overlaps, else only whole ones, of an
#: ``a`` that is at least as long as ``v``.
convolve = define(
    "convolve",
    spec=convolve_spec,
    promote=convolve_promote,
    transpose=(convolve_transpose_a, convolve_transpose_v),
    axes="...M,...N->...K",
)
