"""NumPy's polynomials on tensors: arithmetic, division, roots, fits."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError
from gradloom.testing.functions import check_like_numpy, value_of

X = np.random.default_rng(0).uniform(-1, 2, (3, 4))
A = np.random.default_rng(1).uniform(-1, 2, 6)
#: With four real roots that are apart.
P = np.array([2.0, -11.0, 3.0, 7.0, -1.0])
POINTS = np.linspace(-1.0, 2.0, 9)
VALUES = np.exp(POINTS)


def test_polynomials() -> None:
    p, q = A[:4], A[4:]
    check_like_numpy(lambda x: np.polyval(p, x), X)
    check_like_numpy(lambda p: np.polyval(p, X), p)
    check_like_numpy(lambda x: np.polyval([1, 2, 3], x), np.array(0.5))
    check_like_numpy(lambda p: np.polyval(p, 2), p)
    for function in (np.polyadd, np.polysub, np.polymul):
        check_like_numpy(lambda p, f=function: f(p, q), p)
        check_like_numpy(lambda q, f=function: f(p, q), q)
    for m in (0, 1, 2):
        check_like_numpy(lambda p, m=m: np.polyder(p, m), p)
        check_like_numpy(lambda p, m=m: np.polyint(p, m), p)
    check_like_numpy(partial(np.polyint, m=2, k=3.0), p)


def test_division() -> None:
    q = np.array([1.5, 2.0, 1.0])
    for part in (0, 1):
        for divisor in (q, np.array([2.0]), [2], P[::-1]):
            check_like_numpy(lambda p, k=part, q=divisor: np.polydiv(p, q)[k], P, value_rtol=1e-13)
        check_like_numpy(lambda q, k=part: np.polydiv(P, q)[k], q, value_rtol=1e-13)
        check_like_numpy(lambda p, k=part: np.polydiv(p, P)[k], q)


def test_roots() -> None:
    """The derivative of a root is -p(r) of the change over p'(r); a root at zero has one, too."""
    for p in (P, P[:4], np.array([1.0, -1.0, 0.0])):
        roots, pullback = gl.vjp(lambda p: np.roots(p).real, p)
        np.testing.assert_allclose(np.sort(roots), np.sort(np.roots(p)), atol=1e-12)
        for k, r in enumerate(roots):
            expected = -(r ** np.arange(p.size - 1, -1, -1)) / np.polyval(np.polyder(p), r)
            np.testing.assert_allclose(pullback(np.eye(roots.size)[k])[0], expected, rtol=1e-9, atol=1e-9)
    gl.check_grads(lambda p: np.sum(np.abs(np.roots(p)) ** 3), (np.array([1.0, 0.5, 2.0, -3.0]),), order=2)
    assert value_of(np.roots, P[:1]).shape == (0,)


def test_from_roots() -> None:
    check_like_numpy(np.poly, A[:4])
    np.testing.assert_allclose(value_of(np.poly, X[:, :3]).real, np.poly(X[:, :3]), rtol=1e-12)


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_fit(degree: int) -> None:
    check_like_numpy(lambda y: np.polyfit(POINTS, y, degree), VALUES, value_rtol=1e-12)
    check_like_numpy(lambda x: np.polyfit(x, VALUES, degree), POINTS, rtol=1e-7, value_rtol=1e-11)
    check_like_numpy(lambda w: np.polyfit(POINTS, VALUES, degree, w=w), POINTS + 3.0, value_rtol=1e-11)
    check_like_numpy(lambda y: np.polyfit(POINTS, y, degree, cov=True)[1], VALUES, value_rtol=1e-11)
    check_like_numpy(lambda y: np.polyfit(POINTS, y, degree, full=True)[1], VALUES, value_rtol=1e-9)

    def spread_of_two(x: Any) -> Any:
        return np.polyfit(x, np.stack([VALUES, VALUES**2], 1), degree, cov="unscaled")[1]

    check_like_numpy(spread_of_two, POINTS, rtol=1e-7, value_rtol=1e-11)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda x: np.polyder(x[0], -1), "numpy.polyder: a negative order"),
        (lambda x: np.polyint(x[0], 3, [1, 2]), "length 1 or >m."),
        (lambda x: np.roots(x), "numpy.roots: Input must be a rank-1 array."),
        (lambda x: np.poly(x), "non-empty square 2d array"),
        (lambda x: np.polyfit(x[0], x[:, 0], 1), "got: x (4,), y (3,), degree 1"),
        (lambda x: np.polyfit(x[0], x[1], -1), "a degree of 0 or more"),
        (lambda x: np.polyfit(x[0], x[1], 1, w=x[:, 0]), "w is not one weight for each point"),
        (lambda x: np.polyfit([1.0, 2.0], x[0, :2], 1, cov=True), "expected: more than 2 points"),
    ],
)
def test_refusals(f: Any, text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(X)
    assert text in str(caught.value)
