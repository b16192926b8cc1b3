"""Who follows the remedy of an error succeeds: with tensors it gives what NumPy gives with arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import foreign_kernels
from gradloom.discovery import plugins
from gradloom.errors import GradloomError, OutputError, PluginError, SchedulerError
from gradloom.executor import executors
from gradloom.hookspecs import hookimpl
from gradloom.op import Op, get_op, unregister
from gradloom.spec import Spec

V = np.array([0.5, -1.25, 2.0])
M = np.array([[0.5, -1.25, 2.0], [3.0, 0.75, -0.5]])
MASK = np.array([True, False, True])
ROWS, COLUMNS = np.array([0, 1]), np.array([0, 2, 1])


class Case(NamedTuple):
    """What raises, what its remedy says, and the same after the remedy: functions of one array."""

    x: Any
    wrong: Callable[[Any], Any]
    remedy: str
    right: Callable[[Any], Any]


def assigned(x: Any, rows: Any, columns: Any) -> Any:
    """Return an array, some of whose elements are replaced."""
    x = x * 1.0
    x[rows, columns] = 7.0
    return x


CASES: dict[str, Case] = {
    "diff of a number": Case(2.0, np.diff, "np.atleast_1d", lambda x: np.diff(np.atleast_1d(x))),
    "gradient: spacings": Case(
        M, lambda x: np.gradient(x, 1.0, 1.0, 1.0), "one for each", lambda x: np.gradient(x, 1.0, 2.0)
    ),
    "gradient: too short": Case(
        M, lambda x: np.gradient(x, edge_order=2), "axis=", lambda x: np.gradient(x, edge_order=2, axis=1)
    ),
    "gradient: shorter": Case(
        M, lambda x: np.gradient(x, axis=0, edge_order=2), "edge_order=1", lambda x: np.gradient(x, axis=0)
    ),
    "gradient: distances": Case(
        V,
        lambda x: np.gradient(x, np.array([1.0, 2.0])),
        "np.append(0.0, np.cumsum(d))",
        lambda x: np.gradient(x, np.append(0.0, np.cumsum(np.array([1.0, 2.0])))),
    ),
    "interp: period": Case(
        V,
        lambda x: np.interp(x, [0.0, 1.0], [1.0, 3.0], period=0),
        "leave period",
        lambda x: np.interp(x, [0, 1], [1, 3]),
    ),
    "vdot": Case(M, lambda x: np.vdot(x, V), "np.sum(np.conj(a) * b)", lambda x: np.sum(np.conj(x) * V)),
    "tensordot": Case(
        M,
        lambda x: np.tensordot(x, M, axes=([0, 1], [0])),
        "axes=([1, 0], [0, 1])",
        lambda x: np.tensordot(x, M.T, axes=([1, 0], [0, 1])),
    ),
    "einsum: letters": Case(M, lambda x: np.einsum("i->i", x), "...", lambda x: np.einsum("...i->...i", x)),
    "einsum: every axis": Case(M, lambda x: np.einsum("i->i", x), "each axis once", lambda x: np.einsum("ji->i", x)),
    "einsum: lengths": Case(
        M, lambda x: np.einsum("ij,jk->ik", x, M), "swap the letters", lambda x: np.einsum("ij,kj->ik", x, M)
    ),
    "einsum: another letter": Case(
        M, lambda x: np.einsum("ij,jk->ik", x, M), "another letter", lambda x: np.einsum("ij,kl->il", x, M)
    ),
    "reduce of nothing": Case(
        V, lambda x: np.maximum.reduce(x[:0]), "initial=", lambda x: np.maximum.reduce(x[:0], initial=1.0)
    ),
    "fft: lengths": Case(
        M, lambda x: np.fft.fftn(x, s=(4,), axes=(0, 1)), "axes=", lambda x: np.fft.fftn(x, s=(4,), axes=(1,))
    ),
    "histogram: weights": Case(
        V,
        lambda x: np.histogram(V, weights=x[:1])[0],
        "np.broadcast_to(weights, np.shape(a))",
        lambda x: np.histogram(V, weights=np.broadcast_to(x[:1], np.shape(V)))[0],
    ),
    "histogramdd: bins": Case(
        V,
        lambda x: np.histogramdd(M.T, bins=(2,), weights=x)[0],
        "one number",
        lambda x: np.histogramdd(M.T, 2, weights=x)[0],
    ),
    "histogram: range": Case(
        V,
        lambda x: np.histogram(V, range=(1, 0), weights=x)[0],
        "leave range out",
        lambda x: np.histogram(V, weights=x)[0],
    ),
    "an index of floats": Case(
        V, lambda x: x[np.array([0.0, 2.0])], "i.astype(int)", lambda x: x[np.array([0.0, 2.0]).astype(int)]
    ),
    "a traced index of floats": Case(
        V,
        lambda x: x[x * 0 + 1.0],
        "i.astype(int)",
        lambda x: x[(x * 0 + 1.0).astype(int)],
    ),
    "too many indices": Case(V, lambda x: x[0, 0], "x[..., None]", lambda x: x[..., None][0, 0]),
    "mask of the last axis": Case(M, lambda x: x[MASK], "x[:, mask]", lambda x: x[:, MASK]),
    "rows and columns": Case(M, lambda x: x[ROWS, COLUMNS], "np.ix_", lambda x: x[np.ix_(ROWS, COLUMNS)]),
    "assignment to rows and columns": Case(
        M, lambda x: assigned(x, ROWS, COLUMNS), "np.ix_", lambda x: assigned(x, *np.ix_(ROWS, COLUMNS))
    ),
    "pad": Case(M, lambda x: np.pad(x, ((1, 1),) * 3), "for each axis", lambda x: np.pad(x, ((1, 1), (0, 2)))),
    "poly": Case(M, np.poly, "np.ravel(x)", lambda x: np.poly(np.ravel(x))),
    "roots": Case(M, np.roots, "np.ravel(p)", lambda x: np.sum(np.roots(np.ravel(x)))),
    "polyfit: weight": Case(
        V,
        lambda x: np.polyfit(np.arange(3.0), x, 1, w=np.ones(1)),
        "np.broadcast_to(w, x.shape)",
        lambda x: np.polyfit(np.arange(3.0), x, 1, w=np.broadcast_to(np.ones(1), x.shape)),
    ),
    "axis is needed": Case(M, lambda x: np.cumulative_sum(x), "axis=", lambda x: np.cumulative_sum(x, axis=0)),
    "convolve": Case(M, lambda x: np.convolve(x, V), "np.ravel", lambda x: np.convolve(np.ravel(x), V)),
    "convolve: several rows": Case(
        M,
        lambda x: np.convolve(x, V),
        "gl.vmap(numpy.convolve, in_axes=(0, None))",
        lambda x: (
            gl.vmap(np.convolve, in_axes=(0, None))(x, V)
            if isinstance(x, gl.Tensor)
            else np.stack([np.convolve(row, V) for row in x])
        ),
    ),
    "windows": Case(
        M,
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (2,)),
        "axis=",
        lambda x: np.lib.stride_tricks.sliding_window_view(x, (2,), axis=(1,)),
    ),
    "apply_over_axes": Case(
        M,
        lambda x: np.apply_over_axes(lambda a, axis: np.sum(a), x, [0]),
        "keepdims=True",
        lambda x: np.apply_over_axes(lambda a, axis: np.sum(a, axis=axis, keepdims=True), x, [0]),
    ),
    "bincount: weights": Case(
        V,
        lambda x: np.bincount([0, 1, 1], weights=x[:1]),
        "np.broadcast_to(weights, x.shape)",
        lambda x: np.bincount([0, 1, 1], weights=np.broadcast_to(x[:1], (3,))),
    ),
    "bincount: negative": Case(
        V,
        lambda x: np.bincount(np.array([-1, 0, 0]), weights=x),
        "x - x.min()",
        lambda x: np.bincount(np.array([-1, 0, 0]) + 1, weights=x),
    ),
    "percent": Case(V, lambda x: np.quantile(x, 50), "np.percentile", lambda x: np.percentile(x, 50)),
    "cov": Case(M[None], np.cov, "x.reshape(len(x), -1)", lambda x: np.cov(x.reshape(len(x), -1))),
    "take_along_axis": Case(
        M,
        lambda x: np.take_along_axis(x, np.array([0, 2]), 1),
        "np.expand_dims(indices, axis)",
        lambda x: np.take_along_axis(x, np.expand_dims(np.array([0, 2]), 1), 1),
    ),
    "not a matrix": Case(V, np.linalg.pinv, "x[:, None]", lambda x: np.linalg.pinv(x[:, None])),
    "not square": Case(M, np.linalg.inv, "np.linalg.pinv", np.linalg.pinv),
    "solve: a stack of vectors": Case(
        M[:, :2],
        lambda x: np.linalg.solve(np.stack([x, x + 1.0, x.T]), np.ones((3, 2))),
        "np.linalg.solve(a, b[..., None])[..., 0]",
        lambda x: np.linalg.solve(np.stack([x, x + 1.0, x.T]), np.ones((3, 2))[..., None])[..., 0],
    ),
    "concatenate: an axis too few": Case(
        M, lambda x: np.concatenate([x, V]), "x[None]", lambda x: np.concatenate([x, V[None]])
    ),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", CASES)
def test_the_remedy_helps(name: str) -> None:
    x, wrong, remedy, right = CASES[name]
    with pytest.raises(GradloomError) as caught:
        gl.linearize(wrong, x)
    assert remedy in str(caught.value.remedy)
    value, _ = gl.linearize(right, x)
    for got, want in zip(leaves(value), leaves(right(x)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


def leaves(value: Any) -> list[Any]:
    """Return the arrays of a result that may be a list or tuple of them."""
    return list(value) if isinstance(value, list | tuple) else [value]


def test_searching_in_several_rows() -> None:
    rows = np.sort(M)
    with pytest.raises(GradloomError) as caught:
        gl.jit(np.searchsorted)(rows, np.zeros(2))
    assert "gl.vmap(np.searchsorted)(a, v)" in str(caught.value.remedy)
    found = gl.vmap(np.searchsorted)(rows, np.zeros(2))
    np.testing.assert_array_equal(found, [np.searchsorted(row, 0.0) for row in rows])


def test_a_function_with_its_own_gradient_returns_a_pullback() -> None:
    with pytest.raises(OutputError, match=r"return \(out, pullback\)"):
        gl.grad(gl.custom_gradient(lambda x: 3.0 * x))(2.0)
    assert gl.grad(gl.custom_gradient(lambda x: (3.0 * x, lambda cotangent: 3.0 * cotangent)))(2.0) == 3.0


def test_a_scheduler_without_workers() -> None:
    with pytest.raises(SchedulerError, match=r"gl.scheduler\('serial'\) needs none"):
        executors.get("serial").start()
    with gl.scheduler("serial"):
        assert gl.grad(np.sin)(0.0) == 1.0


def test_an_op_without_a_kernel_for_a_backend_leaves_it_out() -> None:
    def spec(x: Spec) -> Spec:
        return x

    def plugin(kernels: Any) -> object:
        class Ops:
            @hookimpl
            def gradloom_ops(self, register: Any) -> None:
                register(Op("op_of_test_remedies", spec=spec, elementwise=True), kernels=kernels)

        return Ops()

    with pytest.raises(PluginError, match="leave out a backend that has none, such as 'cupy'"):
        plugins.register(plugin({"numpy": np.cos, "cupy": None}), "remedies", "the test")
    plugins.register(plugin({"numpy": np.cos}), "remedies", "the test")
    try:
        assert get_op("op_of_test_remedies")(0.0) == 1.0
    finally:
        foreign_kernels.discard("numpy", get_op("op_of_test_remedies"))
        unregister("op_of_test_remedies")
