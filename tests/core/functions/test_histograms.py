"""NumPy's histograms on tensors: counts, weights, edges, densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, ConcreteValueError, GradloomError
from gradloom.testing.functions import check_like_numpy

RNG = np.random.default_rng(0)
#: Apart from each other and from all edges by more than the steps of the difference stencil.
X = RNG.permutation(np.cumsum(RNG.uniform(0.08, 0.18, 17))) - 1.1
Y = RNG.permutation(np.cumsum(RNG.uniform(0.08, 0.18, 17))) * 2
W = RNG.uniform(1.0, 2.0, 17)
EDGES = [-1.0, -0.4, 0.5, 0.97]


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("keywords", [{"bins": 5}, {"bins": EDGES}, {"bins": 4, "range": (-0.6, 0.8)}], ids=str)
def test_histogram(keywords: Any, density: bool) -> None:
    check_like_numpy(lambda w: np.histogram(X, weights=w, density=density, **keywords)[0], W, value_rtol=1e-13)
    check_like_numpy(lambda x: np.histogram(x, density=density, **keywords)[0], X, step=1e-3)
    check_like_numpy(lambda x: np.histogram(x, **keywords)[1], X, step=1e-3)


def test_weights_keep_their_dtype() -> None:
    for weights in (W.astype(np.float32), W + 1j, np.arange(17)):
        check_like_numpy(lambda w: np.histogram(X, 3, weights=w)[0], weights, value_rtol=1e-6)


def test_edges_are_as_numpy_has_them() -> None:
    check_like_numpy(lambda x: np.histogram(np.round(x), 3)[0], X)  # many on edges
    check_like_numpy(lambda x: np.histogram(0.0 * x, 3)[1], X)
    check_like_numpy(lambda x: np.histogram(x[:0], 3)[1], X)
    check_like_numpy(lambda x: np.histogram(np.where(x > 0, np.nan, x), EDGES)[0], X)
    counted, _ = gl.vjp(lambda x: np.histogram(x, "auto")[1], X)
    np.testing.assert_allclose(counted, np.histogram(X, "auto")[1])


@pytest.mark.parametrize("density", [False, True])
@pytest.mark.parametrize("bins", [4, [3, 2], [EDGES, 3], EDGES], ids=str)
def test_two_coordinates(bins: Any, density: bool) -> None:
    check_like_numpy(lambda w: np.histogram2d(X, Y, bins, None, density, w)[0], W, value_rtol=1e-13)
    check_like_numpy(lambda x: np.histogram2d(x, Y, bins, None, density)[0], X, step=1e-3)


def test_three_coordinates() -> None:
    points = np.stack([X, Y, X * Y], axis=1)
    check_like_numpy(lambda w: np.histogramdd(points, 3, weights=w)[0], W, value_rtol=1e-13)
    check_like_numpy(lambda w: np.histogramdd(points[:, 0], 3, weights=w)[0], W, value_rtol=1e-13)
    check_like_numpy(lambda x: np.histogramdd(x, 3)[1][0], points[:, 0], step=1e-3)
    check_like_numpy(lambda x: np.histogramdd(x, (2, 3, 4))[1][2], points, step=1e-3)


def test_under_vmap() -> None:
    rows = np.stack([X, 2 * X])
    expected = [np.histogram(row, 4)[0] for row in rows]
    np.testing.assert_array_equal(gl.vmap(lambda x: np.histogram(x, 4)[0])(rows), expected)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x: np.histogram(x, 0), "expected: 1 or more"),
        (lambda x: np.histogram(x, [1.0, 0.0]), "bins must be monotonically increasing"),
        (lambda x: np.histogram(x, 3, (1.0, 0.0)), "two finite numbers, the lower first"),
        (lambda x: np.histogram(x, weights=x[:1]), "weights should have the same shape as a."),
        (lambda x: np.histogramdd([x, x], [3]), "one entry for each coordinate"),
    ],
)
def test_refusals(f: Any, text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(X)
    assert isinstance(caught.value, ValueError | ArgumentError)
    assert text in str(caught.value)


def test_the_number_of_bins_needs_values() -> None:
    with pytest.raises(ConcreteValueError, match=r"numpy.histogram_bin_edges needs a value"):
        gl.jit(lambda x: np.histogram(x, "auto")[0])(X)
