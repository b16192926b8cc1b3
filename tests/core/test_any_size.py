"""Traced NumPy functions serve arrays of any length by one trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tests.core.test_sizes import Tracing

import gradloom as gl
from gradloom import sizes
from gradloom.errors import AliasError
from gradloom.program import programs
from gradloom.pytree import flatten
from gradloom.testing.functions import check_any_size

#: Samples, features, and what a linear model has beside them.
N, FEATURES, UNITS = 14, 3, 5
X = np.zeros((N, FEATURES))
Y = np.zeros(N)
M = Y > 0
W = np.zeros((FEATURES, UNITS))
#: A matrix with a row and a column for each sample, as that of a kernel.
K = np.zeros((N, N))
ORDER = np.zeros(N, np.int64)

Case = tuple[str, Callable[..., Any], tuple[Any, ...]]

CASES: list[Case] = [
    # -- reductions
    ("sum", lambda x: np.sum(x), (X,)),
    ("sum axis", lambda x: np.sum(x, axis=0), (X,)),
    ("sum keepdims", lambda x: x / np.sum(x, axis=1, keepdims=True), (X,)),
    ("sum where", lambda x, m: np.sum(x, axis=0, where=m[:, None]), (X, M)),
    ("prod", lambda x: np.prod(x, axis=0), (X,)),
    ("mean", lambda x: np.mean(x), (X,)),
    ("mean axis", lambda x: np.mean(x, axis=0), (X,)),
    ("mean axes", lambda x: np.mean(x, axis=(0, 1)), (X,)),
    ("mean where", lambda x, m: np.mean(x, axis=0, where=m[:, None]), (X, M)),
    ("mean of integers", lambda i: np.mean(i), (ORDER,)),
    ("average", lambda x, w: np.average(x, axis=0, weights=w), (X, Y)),
    ("var", lambda x: np.var(x), (X,)),
    ("var ddof", lambda x: np.var(x, axis=0, ddof=1), (X,)),
    ("std", lambda x: np.std(x, axis=0), (X,)),
    ("std keepdims", lambda x: (x - np.mean(x, axis=0)) / np.std(x, axis=0, keepdims=True), (X,)),
    ("max", lambda x: np.max(x), (X,)),
    ("min", lambda x: np.min(x, axis=0), (X,)),
    ("max initial", lambda x, m: np.max(x, axis=0, initial=0.0, where=m[:, None]), (X, M)),
    ("ptp", lambda x: np.ptp(x, axis=0), (X,)),
    ("any all", lambda x: np.any(x > 0, axis=0) | np.all(x > 0), (X,)),
    ("count_nonzero", lambda x: np.count_nonzero(x, axis=0), (X,)),
    ("argmax", lambda x: np.argmax(x, axis=0), (X,)),
    ("argmax flat", lambda x: np.argmax(x), (X,)),
    ("argmin", lambda x: np.argmin(x, axis=1, keepdims=True), (X,)),
    ("cumsum", lambda x: np.cumsum(x, axis=0), (X,)),
    ("cumsum flat", lambda x: np.cumsum(x), (X,)),
    ("cumprod", lambda x: np.cumprod(x, axis=0), (X,)),
    ("cumulative_sum", lambda x: np.cumulative_sum(x, axis=0, include_initial=True), (X,)),
    ("cov", lambda x: np.cov(x, rowvar=False), (X,)),
    ("corrcoef", lambda x: np.corrcoef(x, rowvar=False), (X,)),
    ("logsumexp", lambda x: gl.special.logsumexp(x, axis=1), (X,)),
    ("logsumexp weights", lambda x, b: gl.special.logsumexp(x, axis=0, b=b[:, None]), (X, Y)),
    ("softmax", lambda x: gl.special.softmax(x, axis=1), (X,)),
    ("log_softmax", lambda x: gl.special.log_softmax(x, axis=0), (X,)),
    ("nansum", lambda x: np.nansum(x, axis=0), (X,)),
    ("nanprod", lambda x: np.nanprod(x), (X,)),
    ("nanmean", lambda x: np.nanmean(x, axis=0), (X,)),
    ("nanvar", lambda x: np.nanvar(x, axis=0), (X,)),
    ("nanstd", lambda x: np.nanstd(x, axis=0, ddof=1), (X,)),
    ("nanmax", lambda x: np.nanmax(x, axis=0), (X,)),
    ("nanmin", lambda x: np.nanmin(x), (X,)),
    ("nanargmax", lambda x: np.nanargmax(x, axis=0), (X,)),
    ("nancumsum", lambda x: np.nancumsum(x, axis=0), (X,)),
    ("nanmedian", lambda x: np.nanmedian(x, axis=0), (X,)),
    ("nanquantile", lambda x: np.nanquantile(x, 0.3, axis=0), (X,)),
    ("nanpercentile", lambda x: np.nanpercentile(x, [10, 90]), (X,)),
    # -- products
    ("matmul", lambda x, w: x @ w, (X, W)),
    ("matmul transposed", lambda x: x.T @ x, (X,)),
    ("dot", lambda x, w: np.dot(x, w), (X, W)),
    ("dot vectors", lambda y: np.dot(y, y), (Y,)),
    ("vdot", lambda x: np.vdot(x, x), (X,)),
    ("inner", lambda x: np.inner(x, x), (X,)),
    ("outer", lambda x, y: np.outer(y, x), (X, Y)),
    ("tensordot", lambda x, y: np.tensordot(x, y, axes=(0, 0)), (X, Y)),
    ("einsum", lambda x, w: np.einsum("nf,fu->nu", x, w), (X, W)),
    ("einsum sum", lambda x, y: np.einsum("nf,n->f", x, y), (X, Y)),
    ("einsum quadratic", lambda x, k: np.einsum("...i,ij,...j", x.T, k, x.T), (X, K)),
    ("einsum diagonal", lambda k: np.einsum("ii", k), (K,)),
    ("einsum transpose", lambda x: np.einsum("ij->ji", x), (X,)),
    ("kron", lambda x, y: np.kron(x, y), (X, Y)),
    ("cross", lambda x: np.cross(x, x[::-1]), (X,)),
    # -- elementwise
    ("where", lambda x: np.where(x > 0, x, 0.0), (X,)),
    ("where row", lambda x, y: np.where(y[:, None] > 0, x, -x), (X, Y)),
    ("clip", lambda x: np.clip(x, -1.0, 1.0), (X,)),
    ("clip by arrays", lambda x, y: np.clip(x, 0.0, y[:, None]), (X, Y)),
    ("select", lambda x: np.select([x > 1, x > 0], [x, 2 * x], 0.0), (X,)),
    ("piecewise", lambda x: np.piecewise(x, [x > 0], [np.sin, 0.0]), (X,)),
    ("maximum", lambda x, y: np.maximum(x, y[:, None]), (X, Y)),
    ("power", lambda x: x**2 + x**3.5, (X,)),
    ("nan_to_num", lambda x: np.nan_to_num(x), (X,)),
    ("unwrap", lambda y: np.unwrap(y), (Y,)),
    # -- joining and splitting
    ("concatenate", lambda x: np.concatenate([x, 2 * x]), (X,)),
    ("concatenate columns", lambda x, y: np.concatenate([x, y[:, None]], axis=1), (X, Y)),
    ("stack", lambda y: np.stack([y, y + 1]), (Y,)),
    ("stack last", lambda y: np.stack([y, y + 1], axis=-1), (Y,)),
    ("vstack", lambda y: np.vstack([y, y]), (Y,)),
    ("hstack", lambda x: np.hstack([x, x]), (X,)),
    ("column_stack", lambda x, y: np.column_stack([y, x]), (X, Y)),
    ("append", lambda y: np.append(y, 1.0), (Y,)),
    ("block", lambda x, y: np.block([[x, y[:, None]]]), (X, Y)),
    ("split", lambda x: np.split(x, [2, 4]), (X,)),
    ("split last", lambda x: np.split(x, [-2]), (X,)),
    ("split columns", lambda x: np.split(x, 3, axis=1), (X,)),
    ("array_split columns", lambda x: np.array_split(x, 2, axis=1), (X,)),
    # -- shapes
    ("reshape", lambda x: x.reshape(-1), (X,)),
    ("reshape rows", lambda x: np.reshape(x, (-1, 1, 3)), (X,)),
    ("reshape pairs", lambda x: x.reshape(-1, 3, 1) * 2, (X,)),
    ("reshape F", lambda x: np.reshape(x, -1, order="F"), (X,)),
    ("ravel", lambda x: np.ravel(x), (X,)),
    ("flatten", lambda x: x.flatten(), (X,)),
    ("flat", lambda x: x.flat[2:], (X,)),
    ("transpose", lambda x: np.transpose(x), (X,)),
    ("T", lambda x: x.T, (X,)),
    ("swapaxes", lambda x: np.swapaxes(x, 0, 1), (X,)),
    ("moveaxis", lambda x: np.moveaxis(x, 0, -1), (X,)),
    ("expand_dims", lambda x: np.expand_dims(x, 1), (X,)),
    ("squeeze", lambda y: np.squeeze(y[:, None]), (Y,)),
    ("atleast_2d", lambda y: np.atleast_2d(y), (Y,)),
    ("atleast_3d", lambda y: np.atleast_3d(y), (Y,)),
    ("broadcast_to", lambda y, x: y[:, None] + np.broadcast_to(1.0, (3,)) * x, (Y, X)),
    ("broadcast_arrays", lambda x, y: np.broadcast_arrays(x, y[:, None]), (X, Y)),
    ("meshgrid", lambda y: np.meshgrid(y, y), (Y,)),
    ("tile", lambda x: np.tile(x, (2, 1)), (X,)),
    ("tile new axis", lambda y: np.tile(y, (2, 2)), (Y,)),
    ("repeat", lambda x: np.repeat(x, 3, axis=0), (X,)),
    ("repeat flat", lambda x: np.repeat(x, 2), (X,)),
    ("roll", lambda x: np.roll(x, 1, axis=0), (X,)),
    ("roll back", lambda x: np.roll(x, -2, axis=0), (X,)),
    ("roll flat", lambda y: np.roll(y, 1), (Y,)),
    ("flip", lambda x: np.flip(x, 0), (X,)),
    ("flip all", lambda x: np.flip(x), (X,)),
    ("rot90", lambda x: np.rot90(x), (X,)),
    ("pad", lambda x: np.pad(x, ((1, 2), (0, 0))), (X,)),
    ("pad all", lambda x: np.pad(x, 1, constant_values=2.0), (X,)),
    ("pad ends", lambda y: np.pad(y, (1, 1), constant_values=(2.0, 3.0)), (Y,)),
    ("zeros_like", lambda x: x + np.zeros_like(x), (X,)),
    ("ones_like", lambda x: x * np.ones_like(x), (X,)),
    ("full_like", lambda x: x * np.full_like(x, 3.0), (X,)),
    ("full_like tensor", lambda x: np.full_like(x, x[0, 0]), (X,)),
    ("astype", lambda x: x.astype(np.float32), (X,)),
    ("copy", lambda x: np.copy(x), (X,)),
    # -- indices
    ("x[1:]", lambda x: x[1:], (X,)),
    ("x[:-1]", lambda x: x[:-1], (X,)),
    ("x[2:-2]", lambda x: x[2:-2], (X,)),
    ("x[:5]", lambda x: x[:5], (X,)),
    ("x[-3:]", lambda x: x[-3:], (X,)),
    ("x[::2]", lambda x: x[::2], (X,)),
    ("x[1::2]", lambda x: x[1::2], (X,)),
    ("x[::-1]", lambda x: x[::-1], (X,)),
    ("x[1:-1:3]", lambda x: x[1:-1:3], (X,)),
    ("x[:, None]", lambda y: y[:, None], (Y,)),
    ("x[..., 0]", lambda x: x[..., 0], (X,)),
    ("x[0]", lambda x: x[0], (X,)),
    ("x[:, -1]", lambda x: x[:, -1], (X,)),
    ("x[:, [0, 2]]", lambda x: x[:, [0, 2]], (X,)),
    ("x[i]", lambda x, i: x[i], (X, ORDER)),
    ("x[i, j]", lambda k, i: k[i, i], (K, ORDER)),
    ("x[:-1][i]", lambda x, i: x[:-1][i], (X, ORDER)),
    ("x[1:] = v", lambda x: _assigned(x, slice(1, None), 2.0), (X,)),
    ("x[:-1] = x[1:]", lambda x: _assigned(x, slice(None, -1), x[1:] * 2), (X,)),
    ("x[:, 0] = y", lambda x, y: _assigned(x, (slice(None), 0), y), (X, Y)),
    ("x[mask] = 0", lambda x: _assigned(x, x < 0, 0.0), (X,)),
    ("x[1:][:, 1:]", lambda x: x[1:][:, 1:], (X,)),
    ("x[2:][:-1] = v", lambda x: _assigned_through(x, 2.0), (X,)),
    ("x[i] = y", lambda x, i, y: _assigned(x, (i, 0), y), (X, ORDER, Y)),
    ("add.at", lambda x, i: _added(x, i), (X, ORDER)),
    ("take", lambda x, i: np.take(x, i, axis=0), (X, ORDER)),
    ("take flat", lambda x, i: np.take(x, i), (X, ORDER)),
    ("take_along_axis", lambda x: np.take_along_axis(x, np.argsort(x, axis=0), axis=0), (X,)),
    ("take_along_axis broadcast", lambda x, i: np.take_along_axis(x, i[:, None], axis=1), (X, ORDER)),
    ("diag", lambda k: np.diag(k), (K,)),
    ("diag of vector", lambda y: np.diag(y), (Y,)),
    ("trace", lambda k: np.trace(k), (K,)),
    ("log determinant", lambda k: np.sum(np.log(np.diag(np.linalg.cholesky(k)))), (K,)),
    # -- lengths that do not vary
    ("x.shape[1]", lambda x: x / np.sqrt(x.shape[1]), (X,)),
    ("x.shape[-1]", lambda x: x.reshape(-1, x.shape[-1], 1), (X,)),
    ("x.shape[1:]", lambda x: x.reshape(-1, *x.shape[1:]), (X,)),
    ("x.shape[-1:]", lambda x: np.zeros(x.shape[-1:]) + x, (X,)),
    ("x.shape[::-2]", lambda x: np.ones(x.shape[::-2]) + x, (X,)),
    ("len", lambda x, w: x / len(w), (X, W)),
    # -- order
    ("sort", lambda x: np.sort(x, axis=0), (X,)),
    ("argsort", lambda x: np.argsort(x, axis=0), (X,)),
    ("partition", lambda x: np.partition(x, 2, axis=0), (X,)),
    ("searchsorted", lambda y, x: np.searchsorted(y, x), (Y, X)),
    # -- calculus
    ("diff", lambda x: np.diff(x, axis=0), (X,)),
    ("diff twice", lambda y: np.diff(y, n=2), (Y,)),
    ("diff prepend", lambda y: np.diff(y, prepend=0.0), (Y,)),
    ("ediff1d", lambda y: np.ediff1d(y), (Y,)),
    ("gradient", lambda y: np.gradient(y), (Y,)),
    ("trapezoid", lambda x, y: np.trapezoid(x, y, axis=0), (X, Y)),
    ("convolve", lambda y: np.convolve(y, np.ones(3), "valid"), (Y,)),
    # -- linear algebra
    ("norm", lambda x: np.linalg.norm(x), (X,)),
    ("norm of rows", lambda x: np.linalg.norm(x, axis=1), (X,)),
    ("norm 1", lambda x: np.linalg.norm(x, 1, axis=0), (X,)),
    ("inv", lambda k: np.linalg.inv(k), (K,)),
    ("solve", lambda k, y: np.linalg.solve(k, y), (K, Y)),
    ("solve columns", lambda k, x: np.linalg.solve(k, x), (K, X)),
    ("solve normal", lambda x, y: np.linalg.solve(x.T @ x, x.T @ y), (X, Y)),
    ("det", lambda k: np.linalg.det(k), (K,)),
    ("slogdet", lambda k: np.linalg.slogdet(k)[1], (K,)),
    ("cholesky", lambda k: np.linalg.cholesky(k), (K,)),
    ("eigh", lambda k: np.linalg.eigh(k), (K,)),
    ("svd", lambda x: np.linalg.svd(x, full_matrices=False), (X,)),
    ("qr", lambda x: np.linalg.qr(x), (X,)),
    ("pinv", lambda x: np.linalg.pinv(x), (X,)),
    ("lstsq", lambda x, y: np.linalg.lstsq(x, y)[0], (X, Y)),
    # -- transforms
    ("value_and_grad", lambda x: gl.value_and_grad(_loss)(x), (X,)),
    ("grad of grad", lambda x: gl.grad(lambda x: np.sum(gl.grad(_loss)(x) ** 2))(x), (X,)),
    ("jvp", lambda x: gl.jvp(_loss, (x,), (2 * x,)), (X,)),
    ("vjp", lambda x: gl.vjp(np.tanh, x)[1](x), (X,)),
    ("hvp", lambda x: gl.hvp(_loss)(x, x), (X,)),
    ("jacobian", lambda y: gl.jacobian(np.cumsum)(y), (Y,)),
    ("hessian", lambda w, x: gl.hessian(lambda w: _loss(x @ w))(w), (W, X)),
    ("vmap", lambda x: gl.vmap(gl.grad(_loss))(x), (X,)),
    ("vmap of columns", lambda x: gl.vmap(np.std, in_axes=1)(x), (X,)),
    ("vmap of vmap", lambda x: gl.vmap(lambda a: gl.vmap(lambda b: np.sum(np.abs(a - b)))(x))(x), (X,)),
    ("jit", lambda x: gl.grad(gl.jit(_loss))(x), (X,)),
]

#: Those that are traced for each length, and why.
PINNED: list[Case] = [
    # The number of elements stands in an array, which is an input of the graph.
    ("average returned", lambda x: np.average(x, axis=0, returned=True), (X,)),
    # So do the positions of a diagonal beside the main one, and a triangle.
    ("diagonal", lambda k: np.diagonal(k, 1), (K,)),
    ("tril", lambda k: np.tril(k), (K,)),
    # There are one or two elements in the middle: see below.
    ("median", lambda x: np.median(x, axis=0), (X,)),
    ("median of all", lambda x: np.median(x), (X,)),
    # Positions among the elements, and what is between, are known numbers.
    ("quantile", lambda x: np.quantile(x, 0.3, axis=0), (X,)),
    ("percentile", lambda x: np.percentile(x, [10, 90], axis=0), (X,)),
    # So is a length in the code.
    ("x.shape[0]", lambda x: np.sum(x) / x.shape[0], (X,)),
    ("x.shape[-2]", lambda x: np.sum(x) / x.shape[-2], (X,)),
    ("x.shape[:1]", lambda x: np.zeros(x.shape[:1]) + x.T, (X,)),
    ("shape", lambda x: np.zeros(x.shape) + x, (X,)),
    ("unpacked", lambda x: _unpacked(x), (X,)),
    ("indexed by a name", lambda x: _indexed_by_a_name(x), (X,)),
    ("np.shape", lambda x: x / np.shape(x)[1], (X,)),
    ("size", lambda x: np.sum(x) / x.size, (X,)),
    ("len", lambda x: np.sum(x) / len(x), (X,)),
    # So is the position of the last element.
    ("x[-1]", lambda x: x[-1], (X,)),
    ("interp", lambda x, y: np.interp(x, y, y), (X, Y)),
]


def _loss(x: Any) -> Any:
    return np.sum(np.tanh(x) ** 2) / 2 + np.mean(x[1:] * x[:-1])


def _unpacked(x: Any) -> Any:
    n, _ = x.shape
    return np.sum(x) / n


def _indexed_by_a_name(x: Any) -> Any:
    axis = 1
    return x / x.shape[axis]


def _assigned(x: Any, index: Any, value: Any) -> Any:
    x = x * 1.0
    x[index] = value
    return x


def _assigned_through(x: Any, value: Any) -> Any:
    x = x * 1.0
    view, other = x[2:][:-1], x[:2]
    view[...] = value
    return x, other


def _added(x: Any, index: Any) -> Any:
    total = np.zeros_like(x)
    np.add.at(total, index, x)
    return total


@pytest.mark.parametrize(("function", "args"), [pytest.param(f, args, id=name) for name, f, args in CASES])
def test_any_number_of_samples(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The function is not traced for other numbers of samples; the graph is what tracing would give."""
    assert check_any_size(function, *args, lengths=[N])


@pytest.mark.parametrize(("function", "args"), [pytest.param(f, args, id=name) for name, f, args in CASES])
def test_rules(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Neither do the rules ask for a length by which it is differentiated, and mapped over a new axis."""
    programs.clear()  # of a graph that is found there the lines are those of another function
    real = [k for k, x in enumerate(args) if x.dtype.kind == "f"]

    def loss(*args: Any) -> Any:
        return sum(
            [np.sum(np.sin(x)) for x in flatten(function(*args))[0] if x.dtype.kind == "f"], np.sum(args[real[0]])
        )

    def tangent(*args: Any) -> Any:
        primals = [args[k] for k in real]
        return gl.jvp(
            lambda *own: loss(*[own[real.index(k)] if k in real else x for k, x in enumerate(args)]), primals, primals
        )

    def gradients(*args: Any) -> Any:
        return gl.vmap(gl.grad(loss, real))(*[np.stack([x, x]) for x in args])

    for transformed in (tangent, gradients) if real else ():
        assert check_any_size(transformed, *args, lengths=[N])


@pytest.mark.parametrize(("function", "args"), [pytest.param(f, args, id=name) for name, f, args in PINNED])
def test_pinned(function: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The function is traced for each number of samples; no other graph is taken for it."""
    assert not check_any_size(function, *args, lengths=[N])


@pytest.mark.parametrize("function", [np.median, lambda x: np.array_split(x, 2)], ids=["median", "array_split"])
def test_odd_and_even(function: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Even numbers of samples share a trace, and odd ones do, in whatever order they come."""
    monkeypatch.setattr(sizes, "LARGE", 0)
    for counts in (
        [(1, 10), (2, 12), (2, 16), (4, 11), (5, 13), (5, 8), (5, 27), (5, 9)],
        [(1, 10), (3, 11), (4, 12), (5, 13), (5, 8), (5, 27), (5, 14)],
    ):
        tracing = Tracing(function)
        for count, n in counts:
            assert tracing(np.zeros(n)) == Tracing(function)(np.zeros(n))
            assert tracing.count == count


def test_views_that_overlap_for_some_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    """An assignment that would show in another view raises for the lengths where it would."""
    monkeypatch.setattr(sizes, "LARGE", 0)

    def f(x: Any) -> Any:
        x = x * 1.0
        first, last = x[:10], x[-3:]
        first[1:] = 2.0
        return x, last

    tracing = Tracing(f)
    for n in (14, 15, 16, 13):
        tracing(np.zeros(n))
    assert tracing.count == 2
    for n in (12, 5):
        with pytest.raises(AliasError):
            tracing(np.zeros(n))


@pytest.mark.parametrize("number", [14.0, 17.0, 29, 3.5])
def test_numbers_that_are_lengths_by_chance(number: float) -> None:
    """A number in the code that equals one of samples is one literal with it, for that number of samples alone."""
    served = check_any_size(lambda x: (np.mean(x, axis=0) + number) * (x + number), X, lengths=[N])
    assert served == (number == 3.5)
