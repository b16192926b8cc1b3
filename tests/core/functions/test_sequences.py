"""NumPy's convolution, windows and functions along an axis on tensors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).uniform(-1, 2, (3, 4))
A = np.random.default_rng(1).uniform(-1, 2, 6)
sliding_window_view = np.lib.stride_tricks.sliding_window_view


@pytest.mark.parametrize("mode", ["full", "same", "valid"])
@pytest.mark.parametrize("function", [np.convolve, np.correlate])
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_convolve_and_correlate(function: Any, mode: Any, size: int) -> None:
    v = X.ravel()[:size]
    check_like_numpy(lambda a: function(a, v, mode), A[:3], value_rtol=1e-13)
    check_like_numpy(lambda a: function(a, v, mode), A, value_rtol=1e-13)
    check_like_numpy(lambda v: function(A[:3], v, mode), v, value_rtol=1e-13)
    check_like_numpy(lambda v: function(A[:4], v, mode), v, value_rtol=1e-13)
    for a, b in ((A + 1j, v * (1 - 2j)), (v + 1j, A * (2 + 1j)), (np.arange(4), np.arange(1, size + 1))):
        np.testing.assert_allclose(value_of(lambda a, b: function(a, b, mode), a, b), function(a, b, mode), rtol=1e-13)


def test_convolve_under_vmap_and_twice() -> None:
    np.testing.assert_allclose(gl.vmap(lambda a: np.convolve(a, A[:2]))(X)[2], np.convolve(X[2], A[:2]), rtol=1e-14)
    gl.check_grads(lambda a, v: np.sin(np.convolve(a, v, "same")), (A, A[:3]), order=2)


@pytest.mark.parametrize(
    ("window", "axis"), [(2, 0), (3, -1), ((2, 3), None), ((2,), (1,)), ((2, 2), (1, 1)), ((2, 3), (1, 0))], ids=str
)
def test_sliding_window_view(window: Any, axis: Any) -> None:
    check_like_numpy(lambda x: sliding_window_view(x, window, axis), X)


def test_apply_along_axis() -> None:
    check_like_numpy(lambda x: np.apply_along_axis(lambda row: row**2, 0, x), X)
    check_like_numpy(lambda x: np.apply_along_axis(lambda row: np.sum(row * row), 1, x), X)
    check_like_numpy(lambda x: np.apply_along_axis(lambda row, k: np.outer(row, row)[k:], 0, x, 1), X)
    check_like_numpy(lambda x: np.apply_along_axis(np.sort, -1, x), X)


def test_apply_over_axes() -> None:
    check_like_numpy(lambda x: np.apply_over_axes(np.sum, x, (0, -1)), X)
    check_like_numpy(lambda x: np.apply_over_axes(np.cumsum, x, 1), X)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x: np.convolve(x, x), "not a sequence"),
        (lambda x: np.convolve(x[0], x[0], mode="other"), "numpy.convolve: no such mode"),
        (lambda x: np.correlate(x[0, :0], x[0]), "a 1-d array, not empty"),
        (lambda x: sliding_window_view(x, (2,)), "windows and axes differ in number"),
        (lambda x: sliding_window_view(x, (2, 5)), "window shape cannot be larger than input array shape"),
        (lambda x: sliding_window_view(x, 2, 0, writeable=True), "argument: writeable"),
        (lambda x: np.apply_along_axis(np.sum, 2, x), "axis out of range"),
        (lambda x: np.apply_along_axis(np.sum, 0, x[:, :0]), "any iteration dimensions are 0"),
        (lambda x: np.apply_over_axes(lambda x, axis: x[0, 0], x, 0), "not returning an array of the correct shape"),
    ],
)
def test_refusals(f: Callable[..., Any], text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(X)
    assert text in str(caught.value)
