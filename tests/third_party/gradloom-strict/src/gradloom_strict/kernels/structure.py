"""Kernels that move, reduce, accumulate and order elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import array_api_strict as xp

from gradloom_strict.arrays import annihilating_multiply, device, full, kind, strict_dtype


def integers(x: Any) -> Any:
    """Return booleans as integers."""
    return xp.astype(x, xp.int64) if x.dtype == xp.bool else x


def summation(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a sum or product over axes that takes booleans too."""

    def kernel(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return function(integers(x), axis=axis, keepdims=keepdims)

    return kernel


def extremum(function: Callable[..., Any], logical: Callable[..., Any], sign: float) -> Callable[..., Any]:
    """Return a maximum or minimum over axes that takes booleans and complex numbers too."""

    def kernel(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        if x.dtype == xp.bool:
            return logical(x, axis=axis, keepdims=keepdims)
        if kind(x) != "c":
            return function(x, axis=axis, keepdims=keepdims)
        # Complex numbers are ordered by real part, then by imaginary part.
        real = function(xp.real(x), axis=axis, keepdims=True)
        worst = full((), -sign * float("inf"), xp.imag(x).dtype)
        imag = function(xp.where(xp.real(x) == real, xp.imag(x), worst), axis=axis, keepdims=True)
        found = xp.astype(real, x.dtype) + 1j * xp.astype(imag, x.dtype)
        return found if keepdims else xp.squeeze(found, axis=axis)

    return kernel


def truth(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return any or all over axes."""

    def kernel(x: Any, *, axis: tuple[int, ...], keepdims: bool) -> Any:
        return function(x, axis=axis, keepdims=keepdims)

    return kernel


def position(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return argmax or argmin along an axis."""

    def kernel(x: Any, *, axis: int, keepdims: bool) -> Any:
        return function(integers(x), axis=axis, keepdims=keepdims)

    return kernel


def cumulative(function: Callable[..., Any], x: Any, axis: int, reverse: bool) -> Any:
    """Accumulate along an axis, from either end."""
    x = integers(x)
    if reverse:
        return xp.flip(function(xp.flip(x, axis=axis), axis=axis), axis=axis)
    return function(x, axis=axis)


def cumsum(x: Any, *, axis: int, reverse: bool) -> Any:
    return cumulative(xp.cumulative_sum, x, axis, reverse)


def cumprod(x: Any, *, axis: int, exclusive: bool, reverse: bool) -> Any:
    products = cumulative(xp.cumulative_prod, x, axis, reverse)
    if not exclusive or not x.shape[axis]:
        return products
    before = (slice(None),) * axis
    one = xp.ones_like(products[(*before, slice(0, 1), ...)])
    if reverse:
        return xp.concat([products[(*before, slice(1, None), ...)], one], axis=axis)
    return xp.concat([one, products[(*before, slice(0, x.shape[axis] - 1), ...)]], axis=axis)


def linear_recurrence(a: Any, b: Any, *, axis: int, reverse: bool) -> Any:
    length = a.shape[axis]
    if not length:
        return xp.zeros_like(a)
    before = (slice(None),) * axis
    order = range(length - 1, -1, -1) if reverse else range(length)
    state = xp.zeros_like(a[(*before, 0, ...)])
    states = []
    for i in order:
        states.append(state)
        state = annihilating_multiply(state, a[(*before, i, ...)]) + b[(*before, i, ...)]
    return xp.stack(states[::-1] if reverse else states, axis=axis)


def sort(x: Any, *, axis: int) -> Any:
    return xp.take_along_axis(x, argsort(x, axis=axis), axis=axis)


def argsort(x: Any, *, axis: int) -> Any:
    if kind(x) != "c":
        return xp.argsort(integers(x), axis=axis, stable=True)
    first = xp.argsort(xp.imag(x), axis=axis, stable=True)
    second = xp.argsort(xp.take_along_axis(xp.real(x), first, axis=axis), axis=axis, stable=True)
    return xp.take_along_axis(first, second, axis=axis)


def searchsorted(a: Any, v: Any, *, side: Any) -> Any:
    if a.ndim == 1:
        return xp.reshape(xp.searchsorted(a, xp.reshape(v, (-1,)), side=side), v.shape)
    rows = xp.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    a = xp.reshape(xp.broadcast_to(a, (*rows, a.shape[-1])), (-1, a.shape[-1]))
    flat = xp.reshape(xp.broadcast_to(v, (*rows, v.shape[-1])), (a.shape[0], v.shape[-1]))
    found = [xp.searchsorted(a[i, :], flat[i, :], side=side) for i in range(a.shape[0])]
    if not found:
        return full((*rows, v.shape[-1]), 0, xp.int64)
    return xp.reshape(xp.stack(found), (*rows, v.shape[-1]))


def concatenate(*arrays: Any, axis: int) -> Any:
    return xp.concat(list(arrays), axis=axis)


def flip(x: Any, *, axis: tuple[int, ...]) -> Any:
    return xp.flip(x, axis=axis) if axis else x


def iota(*, length: int, dtype: Any) -> Any:
    return xp.arange(length, dtype=strict_dtype(dtype), device=device())


KERNELS: dict[str, Any] = {
    "reshape": lambda x, *, shape: xp.reshape(x, shape),
    "broadcast_to": lambda x, *, shape: xp.broadcast_to(x, shape),
    "transpose": lambda x, *, axes: xp.permute_dims(x, axes),
    "concatenate": concatenate,
    "flip": flip,
    "iota": iota,
    "sum": summation(xp.sum),
    "prod": summation(xp.prod),
    "max": extremum(xp.max, xp.any, 1.0),
    "min": extremum(xp.min, xp.all, -1.0),
    "any": truth(xp.any),
    "all": truth(xp.all),
    "argmax": position(xp.argmax),
    "argmin": position(xp.argmin),
    "cumsum": cumsum,
    "cumprod": cumprod,
    "linear_recurrence": linear_recurrence,
    "sort": sort,
    "argsort": argsort,
    "searchsorted": searchsorted,
}
