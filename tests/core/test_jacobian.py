"""`jacobian` and `hessian`: every derivative at once, in both modes."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, DTypeError, OutputError
from gradloom.testing import differences

X = np.array([0.5, -1.25, 2.0])
A = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.0]])
MODES = pytest.mark.parametrize("mode", ["rev", "fwd", None])


class Out(NamedTuple):
    a: Any
    b: Any


@MODES
@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lambda x: np.sin(x) * np.sum(x), X),
        (lambda x: A @ x, X),
        (lambda x: np.outer(x, x[:2]), X),
        (lambda x: np.sum(x**2), X),
        (lambda x: x[:, None] * np.arange(1.0, 5.0), X),
        (lambda x: x * X, np.float64(2.0)),
        (lambda x: x**3, np.float64(2.0)),
        (lambda x: x.T @ x, A),
        (lambda x: np.cumsum(x, axis=1)[:, ::2], A),
        (lambda x: np.concatenate([x, x * x, X]), X),
    ],
)
def test_against_differences(f: Any, x: Any, mode: Any) -> None:
    """Shape (*output, *argument), all entries."""
    found = gl.jacobian(f, mode=mode)(x)
    assert found.shape == (*np.shape(f(x)), *np.shape(x))
    np.testing.assert_allclose(found, differences.jacobian(f, (x,), 0), rtol=1e-10, atol=1e-12)


@MODES
def test_containers_nest(mode: Any) -> None:
    """Those of the output outside, those of the argument inside."""

    def f(p: Any, y: Any) -> Any:
        return Out(p["u"] * y, [np.sum(p["v"]) * p["u"][:2]])

    p = {"u": X, "v": A}
    found = gl.jacobian(f, mode=mode)(p, 2.0)
    assert type(found) is Out
    assert list(found.a) == ["u", "v"]
    np.testing.assert_array_equal(found.a["u"], 2.0 * np.eye(3))
    np.testing.assert_array_equal(found.a["v"], np.zeros((3, 2, 3)))
    np.testing.assert_allclose(found.b[0]["u"], np.sum(A) * np.eye(3)[:2], rtol=1e-15)
    np.testing.assert_allclose(found.b[0]["v"], np.broadcast_to(X[:2, None, None], (2, 2, 3)), rtol=1e-15)


@MODES
def test_argnums_and_keywords(mode: Any) -> None:
    """A sequence gives a tuple of blocks."""
    f = lambda a, b, scale=1.0: a * b * scale  # noqa: E731
    np.testing.assert_array_equal(gl.jacobian(f, 1, mode)(X, X, scale=2.0), np.diag(2 * X))
    ga, gb = gl.jacobian(f, (0, -1), mode)(X, np.float64(3.0))
    np.testing.assert_array_equal(ga, np.diag([3.0] * 3))
    np.testing.assert_array_equal(gb, X)
    (only,) = gl.jacobian(f, (0,), mode)(X, 3.0)
    np.testing.assert_array_equal(only, np.diag([3.0] * 3))


@MODES
def test_empty_and_scalar(mode: Any) -> None:
    """Size 0 on either side, and no axes at all."""
    assert gl.jacobian(lambda x: x * 2.0, mode=mode)(np.zeros((0, 3))).shape == (0, 3, 0, 3)
    assert gl.jacobian(lambda x: x[:0], mode=mode)(X).shape == (0, 3)
    assert gl.jacobian(lambda x: np.sum(x), mode=mode)(np.zeros(0)).shape == (0,)
    assert gl.jacobian(lambda x: x**2, mode=mode)(3.0) == 6.0
    np.testing.assert_array_equal(gl.jacobian(lambda x: X, mode=mode)(np.ones(2)), np.zeros((3, 2)))


@MODES
def test_dtypes(mode: Any) -> None:
    """float32 stays, complex is not conjugated."""
    assert gl.jacobian(np.sin, mode=mode)(X.astype(np.float32)).dtype == np.float32
    z = np.array([1.0 + 2.0j, -0.5j])
    found = gl.jacobian(lambda z: z**2 * (1 + 1j), mode=mode)(z)
    np.testing.assert_allclose(found, np.diag(2 * z * (1 + 1j)), rtol=1e-14)


@MODES
def test_complex_meets_real(mode: Any) -> None:
    """A complex function of real numbers has a complex derivative; a real one of complex numbers that of `grad`."""
    x = np.array([0.3, -1.2])
    wave = lambda x: np.exp(1j * x) * x[0]  # noqa: E731
    expected = np.diag(1j * np.exp(1j * x) * x[0]) + np.outer(np.exp(1j * x), [1.0, 0.0])
    np.testing.assert_allclose(gl.jacobian(wave, mode=mode)(x), expected, rtol=1e-14)
    z = np.array([1.0 + 2.0j, -0.5j, 0.25])
    power = lambda z: np.stack([np.sum(np.abs(z) ** 2), np.imag(z[0] * z[1])])  # noqa: E731
    expected = np.stack([2 * np.conj(z), [-1j * z[1], -1j * z[0], 0.0]])
    np.testing.assert_allclose(gl.jacobian(power, mode=mode)(z), expected, rtol=1e-14)
    # All four at once, in single precision, and an argument and an output without elements.
    both = lambda x, z, e: (np.sum(x) * z[:2], np.real(z) * x[0], e)  # noqa: E731
    rows = gl.jacobian(both, (0, 1, 2), mode=mode)(x.astype("f4"), z.astype("c8"), np.zeros(0, "c8"))
    assert [[block.dtype.kind for block in row] for row in rows] == [["c", "c", "c"], ["f", "c", "c"], ["c", "c", "c"]]
    assert all(block.dtype.itemsize == (8 if block.dtype.kind == "c" else 4) for row in rows for block in row)
    np.testing.assert_allclose(rows[0][0], np.outer(z[:2], [1.0, 1.0]), rtol=1e-6)
    np.testing.assert_allclose(rows[0][1], np.sum(x) * np.eye(3)[:2], rtol=1e-6)
    np.testing.assert_allclose(rows[1][0], np.outer(z.real, [1.0, 0.0]), rtol=1e-6)
    np.testing.assert_allclose(rows[1][1], x[0] * np.eye(3), rtol=1e-6)


def test_hessian() -> None:
    """Symmetric, for arguments of every form."""
    f = lambda x: np.sum(np.sin(x) * x[::-1]) + np.prod(x)  # noqa: E731
    found = gl.hessian(f)(X)
    np.testing.assert_allclose(found, found.T, rtol=1e-14, atol=1e-15)
    expected = differences.jacobian(lambda x: differences.jacobian(f, (x,), 0), (X,), 0)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    assert gl.hessian(lambda x: x**3)(2.0) == 12.0
    assert gl.hessian(lambda x: np.sum(x**2))(np.zeros((2, 0))).shape == (2, 0, 2, 0)
    (aa, ab), (ba, bb) = gl.hessian(lambda a, b: np.sum(a**2) * b, (0, 1))(X, 2.0)
    np.testing.assert_array_equal(aa, 4.0 * np.eye(3))
    np.testing.assert_array_equal(ab, 2 * X)
    np.testing.assert_array_equal(ba, 2 * X)
    assert bb == 0.0
    tree = gl.hessian(lambda p: p["a"] ** 2 * p["b"])({"a": 3.0, "b": 2.0})
    assert tree == {"a": {"a": 4.0, "b": 6.0}, "b": {"a": 6.0, "b": 0.0}}


def test_refused() -> None:
    """Unknown modes, integer arguments and outputs, several outputs of a Hessian."""
    with pytest.raises(ArgumentError, match=r"(?s)unknown mode.*'reverse'"):
        gl.jacobian(np.sin, mode="reverse")  # type: ignore[arg-type]
    with pytest.raises(DTypeError, match="integers or booleans"):
        gl.jacobian(np.sin)(np.arange(3))
    with pytest.raises(OutputError, match="float or complex"):
        gl.jacobian(lambda x: x > 0)(X)
    with pytest.raises(OutputError, match="real scalar"):
        gl.hessian(np.sin)(X)
    for transform in (gl.jacobian, gl.hessian, gl.hvp, gl.vmap, gl.custom_gradient, gl.make_graph):
        with pytest.raises(ArgumentError, match="the first argument must be a function"):
            transform(X)


def test_large_jacobian_is_one_batch() -> None:
    """The number of nodes does not grow with the number of rows."""
    sizes = [len(gl.make_graph(gl.jacobian(lambda x: np.sin(x) * np.sum(x)))(np.ones(n))) for n in (3, 300)]
    assert sizes[0] == sizes[1]
