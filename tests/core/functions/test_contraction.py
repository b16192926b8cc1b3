"""NumPy's products on tensors: values, gradients, batches, zeros that annihilate, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, AxisError, LostGradientError, ShapeError, UnsupportedFunctionError
from gradloom.testing import differences

Array = Any


def array(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(0.5, 2.0, shape)


def check(f: Callable[..., Any], *args: Array) -> None:
    """Compare the traced value and every gradient with NumPy's function and its differences."""
    expected = f(*args)
    weights = np.random.default_rng(9).uniform(0.5, 1.5, np.shape(expected))
    for k, x in enumerate(args):
        out, pullback = gl.vjp(lambda t, k=k: f(*args[:k], t, *args[k + 1 :]), x)
        np.testing.assert_allclose(out, expected, rtol=1e-13, atol=1e-14)
        assert np.asarray(out).dtype == expected.dtype
        wanted = differences.jacobian(lambda *a: np.sum(f(*a) * weights), args, k)
        np.testing.assert_allclose(pullback(weights)[0], wanted, rtol=1e-10, atol=1e-11)


FUNCTIONS: list[tuple[str, Callable[..., Any], tuple[tuple[int, ...], ...]]] = [
    ("matmul", np.matmul, ((2, 3), (3, 4))),
    ("operator", lambda a, b: a @ b, ((2, 3), (3,))),
    ("dot of vectors", np.dot, ((3,), (3,))),
    ("dot of scalars", np.dot, ((), (2, 3))),
    ("dot of matrix and vector", np.dot, ((2, 3), (3,))),
    ("dot of matrices", np.dot, ((2, 3), (3, 1))),
    ("dot of stack and matrix", np.dot, ((2, 1, 3), (3, 2))),
    ("dot of stacks", np.dot, ((2, 1, 3), (2, 3, 1))),
    ("dot of vector and stack", np.dot, ((3,), (2, 3, 1))),
    ("vdot", np.vdot, ((2, 3), (6,))),
    ("inner of scalar", np.inner, ((2,), ())),
    ("inner", np.inner, ((2, 3), (4, 3))),
    ("inner of vectors", np.inner, ((3,), (3,))),
    ("outer", np.outer, ((2, 2), (3,))),
    ("tensordot", np.tensordot, ((2, 3, 2), (3, 2, 1))),
    ("tensordot of no axes", lambda a, b: np.tensordot(a, b, 0), ((2,), (3,))),
    ("tensordot of one axis", lambda a, b: np.tensordot(a, b, (0, -1)), ((3, 2), (1, 3))),
    ("tensordot of pairs", lambda a, b: np.tensordot(a, b, ([0, 2], [1, 0])), ((3, 1, 2), (2, 3))),
    ("vecdot", np.vecdot, ((2, 3), (3,))),
    ("vecdot of vectors", np.vecdot, ((3,), (3,))),
    ("kron", np.kron, ((2, 1), (1, 3))),
    ("kron of ranks", np.kron, ((2,), (2, 3))),
    ("cross", np.cross, ((2, 3), (2, 3))),
    ("cross broadcast", np.cross, ((3,), (2, 3))),
    ("cross axes", lambda a, b: np.cross(a, b, axisa=0, axisb=-1, axisc=0), ((3, 2), (2, 3))),
    ("cross axis", lambda a, b: np.cross(a, b, axis=0), ((3, 2), (3, 2))),
    ("einsum implicit", lambda a, b: np.einsum("ij,jk", a, b), ((2, 3), (3, 2))),
    ("einsum implicit order", lambda a: np.einsum("ba", a), ((2, 3),)),
    ("einsum spaces", lambda a, b: np.einsum(" i j , j -> i ", a, b), ((2, 3), (3,))),
    ("einsum ellipsis", lambda a, b: np.einsum("...i,...i", a, b), ((2, 3), (1, 3))),
    ("einsum ellipsis of ranks", lambda a, b: np.einsum("i...,...->...i", a, b), ((2, 3), (4, 1))),
    ("einsum ellipsis before", lambda a, b: np.einsum("...ij,jk->...ki", a, b), ((2, 1, 3), (3, 2))),
    ("einsum length 1", lambda a, b: np.einsum("ij,ij->ij", a, b), ((1, 3), (2, 3))),
    ("einsum lists", lambda a, b: np.einsum(a, [0, 1], b, [1, 2], [2, 0]), ((2, 3), (3, 1))),
    ("einsum lists implicit", lambda a, b: np.einsum(a, [3, 1], b, [1]), ((2, 3), (3,))),
    ("einsum lists ellipsis", lambda a: np.einsum(a, [..., 0, 0], [..., 0]), ((2, 3, 3),)),
    ("einsum optimize", lambda a, b: np.einsum("ij,jk->ik", a, b, optimize="greedy"), ((2, 3), (3, 1))),
    ("linalg matmul", np.linalg.matmul, ((2, 3), (3, 1))),
    ("linalg vecdot", lambda a, b: np.linalg.vecdot(a, b, axis=0), ((3, 2), (3, 2))),
    ("linalg outer", np.linalg.outer, ((2,), (3,))),
    ("linalg cross", lambda a, b: np.linalg.cross(a, b, axis=0), ((3, 2), (3, 2))),
    ("linalg tensordot", lambda a, b: np.linalg.tensordot(a, b, axes=1), ((2, 3), (3, 1))),
]
if hasattr(np, "matvec"):
    FUNCTIONS += [
        ("matvec", np.matvec, ((2, 1, 3), (2, 3))),
        ("matvec of vector", np.matvec, ((2, 3), (3,))),
        ("vecmat", np.vecmat, ((2, 3), (2, 3, 1))),
        ("vecmat of vector", np.vecmat, ((3,), (2, 3, 1))),
    ]


@pytest.mark.parametrize(("f", "shapes"), [pytest.param(f, s, id=name) for name, f, s in FUNCTIONS])
def test_equals_numpy(f: Callable[..., Any], shapes: tuple[tuple[int, ...], ...]) -> None:
    check(f, *[array(*shape, seed=k) for k, shape in enumerate(shapes)])


def test_dot_method() -> None:
    a, b = array(2, 3), array(3, seed=1)
    np.testing.assert_allclose(gl.grad(lambda a: np.sum(a.dot(b)))(a), np.broadcast_to(b, (2, 3)), rtol=1e-14)


def test_large_contraction_takes_the_ordered_path() -> None:
    a, b, c = array(8, 40), array(40, 30, seed=1), array(30, 5, seed=2)
    out, pullback = gl.vjp(lambda b: np.einsum("ij,jk,kl->il", a, b, c), b)
    np.testing.assert_allclose(out, a @ b @ c, rtol=1e-12)
    np.testing.assert_allclose(pullback(np.ones((8, 5)))[0], a.T @ np.ones((8, 5)) @ c.T, rtol=1e-12)


@pytest.mark.parametrize("f", [np.vdot, np.vecdot])
def test_conjugates_the_first_vector(f: Callable[..., Any]) -> None:
    a, b = array(3) + 1j * array(3, seed=1), array(3, seed=2) - 1j * array(3, seed=3)
    np.testing.assert_allclose(gl.vjp(f, a, b)[0], f(a, b), rtol=1e-14)
    # Re(sum conj(a) b): d/da = conj(b), by the convention du/dx - i du/dy; d/db = conj(a).
    ga, gb = gl.grad(lambda a, b: np.real(f(a, b)), argnums=(0, 1))(a, b)
    np.testing.assert_allclose(ga, np.conj(b), rtol=1e-14)
    np.testing.assert_allclose(gb, np.conj(a), rtol=1e-14)


def test_real_factor_of_a_complex_product_has_a_real_gradient() -> None:
    a, b = array(2, 3), array(3) + 1j
    found = gl.grad(lambda a: np.sum(np.real(a @ b)))(a)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, np.broadcast_to(b.real, (2, 3)), rtol=1e-14)


# -- vmap ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batched", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((2, 3), (3, 1)),
        ((4, 2, 3), (3,)),
        ((3,), (4, 3, 1)),
        ((2, 3), (4, 3, 1)),
        ((4, 1, 2, 3), (2, 3, 1)),
    ],
)
def test_vmap_of_matmul(a: tuple[int, ...], b: tuple[int, ...], batched: tuple[bool, bool]) -> None:
    x = array(*(5,) * batched[0], *a)
    y = array(*(5,) * batched[1], *b, seed=1)
    mapped = gl.vmap(np.matmul, in_axes=tuple([0 if is_batched else None for is_batched in batched]))
    rows = [np.matmul(x[k] if batched[0] else x, y[k] if batched[1] else y) for k in range(5)]
    np.testing.assert_allclose(mapped(x, y), np.stack(rows), rtol=1e-13)


@pytest.mark.parametrize("subscripts", ["ij,j->i", "ij,j->", "ij,j->ji"])
def test_vmap_of_gradients(subscripts: str) -> None:
    def loss(a: Array, b: Array) -> Any:
        return np.sum(np.einsum(subscripts, a, b) ** 2) + np.sum(a @ b)

    a, b = array(5, 2, 3), array(3, seed=1)
    mapped = gl.vmap(gl.grad(loss, argnums=(0, 1)), in_axes=(0, None))(a, b)
    for k in range(5):
        for found, expected in zip(mapped, gl.grad(loss, argnums=(0, 1))(a[k], b), strict=True):
            np.testing.assert_allclose(found[k], expected, rtol=1e-12)


# -- zeros annihilate ----------------------------------------------------------------------

X = np.array([[1.0, 2.0], [np.nan, 3.0], [np.inf, -np.inf], [4.0, 5.0]])
MASK = np.array([True, False, False, True])
W = np.array([0.5, -1.0])

PRODUCTS: dict[str, Callable[..., Any]] = {
    "matrix and vector": lambda x, w: x @ w,
    "vector and matrix": lambda x, w: w @ x.T,
    "matrices": lambda x, w: (x @ w[:, None])[:, 0],
    "stack": lambda x, w: (x[None, :, None, :] @ w[:, None])[0, :, 0, 0],
    "einsum": lambda x, w: np.einsum("ij,j->i", x, w),
    "einsum of three": lambda x, w: np.einsum("ij,j,i->i", x, w, np.ones(4)),
    "vecdot": np.vecdot,
}


@pytest.mark.parametrize("f", PRODUCTS.values(), ids=list(PRODUCTS))
def test_masked_rows_leave_no_trace(f: Callable[..., Any]) -> None:
    def loss(x: Array, w: Array) -> Any:
        return np.sum(np.where(MASK, f(x, w), 0.0) ** 2)

    gx, gw = gl.grad(loss, argnums=(0, 1))(X, W)
    clean = np.where(MASK[:, None], X, 0.0)
    expected_x, expected_w = gl.grad(loss, argnums=(0, 1))(clean, W)
    np.testing.assert_allclose(gw, expected_w, rtol=1e-14)
    np.testing.assert_allclose(gx, expected_x, rtol=1e-14)
    hessian_row = gl.hvp(loss, argnums=1)(X, W, np.array([1.0, 0.0]))
    np.testing.assert_allclose(hessian_row, gl.hvp(loss, argnums=1)(clean, W, np.array([1.0, 0.0])), rtol=1e-14)


def test_zero_tangent_annihilates() -> None:
    x = np.array([[1.0, np.nan], [2.0, np.inf]])
    _, tangent = gl.jvp(lambda w: x @ w, (W,), (np.array([1.0, 0.0]),))
    np.testing.assert_array_equal(tangent, [1.0, 2.0])


def test_nan_that_is_reached_stays() -> None:
    gw = gl.grad(lambda w: np.sum(np.where(np.array([True, True, False, True]), X @ w, 0.0)))(W)
    np.testing.assert_array_equal(gw, [np.nan, 10.0])


def test_forward_products_follow_ieee() -> None:
    with pytest.warns(RuntimeWarning, match="invalid value"):
        out, _ = gl.vjp(lambda w: X @ w, np.zeros(2))
    np.testing.assert_array_equal(out, [0.0, np.nan, np.nan, 0.0])


# -- errors --------------------------------------------------------------------------------


def message(f: Callable[..., Any], *args: Array) -> str:
    with pytest.raises((ShapeError, ArgumentError, AxisError, UnsupportedFunctionError, LostGradientError)) as caught:
        gl.make_graph(f)(*args)
    return str(caught.value)


def test_matmul_errors() -> None:
    text = message(lambda a, b: a @ b, array(2, 3), array(4, 3))
    assert "matmul: inner axes differ" in text
    assert "expected: a second array with 3 rows" in text
    assert "got: (2, 3) @ (4, 3)" in text
    assert "remedy: transpose the second array (.mT)" in text
    assert "test_contraction.py:" in text
    assert "transpose the first array" in message(np.matmul, array(3, 2), array(3, 4))
    assert "3 elements" in message(np.matmul, array(2, 3), array(4))
    assert "leading axes do not broadcast" in message(np.matmul, array(2, 2, 3), array(4, 3, 1))
    assert "multiply with *" in message(np.matmul, array(2, 3), np.float64(1.0))


@pytest.mark.parametrize(
    ("subscripts", "shapes", "text"),
    [
        ("ij,jk->ik", ((2, 3), (4, 2)), "axes 'j' differ in length"),
        ("ij,jk->ik", ((2, 3),), "subscripts and operands differ in number"),
        ("ij->i", ((2, 3, 4),), "subscripts and axes differ in number"),
        ("i...->i", ((2, 3),), "'...' in the output"),
        ("ij->iji", ((2, 3),), "a letter stands twice in the output"),
        ("ij->ik", ((2, 3),), "the output letter 'k' stands in no operand"),
        ("i1->i", ((2, 3),), "not a subscript"),
        ("ii->i", ((2, 3),), "axes 'i' differ in length"),
    ],
)
def test_einsum_errors(subscripts: str, shapes: tuple[tuple[int, ...], ...], text: str) -> None:
    arrays = [array(*shape) for shape in shapes]
    with pytest.raises((ValueError, TypeError, IndexError)):
        np.einsum(subscripts, *arrays)
    assert text in message(lambda *a: np.einsum(subscripts, *a), *arrays)


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (lambda a: np.einsum("ij->ji", a, out=np.empty((3, 2))), "argument: out"),
        (lambda a: np.einsum("ij->ji", a, dtype=np.float32), "argument: dtype"),
        (lambda a: np.einsum("ij->ji", a, order="F"), "argument: order"),
        (lambda a: np.einsum("ij->ji", a, casting="unsafe"), "argument: casting"),
        (lambda a: np.dot(a, a.T, out=np.empty((2, 2))), "argument: out"),
        (lambda a: np.outer(a, a, out=np.empty((6, 6))), "argument: out"),
        (lambda a: np.matmul(a, a.T, axes=[(0, 1), (0, 1), (0, 1)]), "argument: axes"),
        (lambda a: np.cross(a[:, :2], a[:, :2]), "cross products are of vectors in three dimensions"),
        (lambda a: np.tensordot(a, a, 1), "summed axes differ in length"),
        (lambda a: np.tensordot(a, a, 3), "too many axes to sum"),
        (lambda a: np.tensordot(a, a, ([0, 1], [0])), "summed axes differ in number"),
        (lambda a: np.tensordot(a, a, (2, 0)), "axis out of range"),
        (lambda a: np.vdot(a, a[0]), "sizes differ"),
        (lambda a: np.linalg.outer(a, a[0]), "not vectors"),
    ],
)
def test_refusals(f: Callable[..., Any], text: str) -> None:
    assert text in message(f, array(2, 3))


@pytest.mark.parametrize(
    ("subscripts", "shapes"),
    [
        (",ij->ij", ((), (3, 4))),
        ("i,ij->ij", ((3,), (3, 4))),
        ("j,ij->ij", ((4,), (3, 4))),
        ("i,j->ij", ((3,), (4,))),
        ("ik,j->ijk", ((2, 3), (4,))),
        ("ji,ij->ij", ((4, 3), (3, 4))),
    ],
)
def test_gradients_of_sums_without_sums(subscripts: str, shapes: Any) -> None:
    """Contractions of which the gradients sum nothing, zeros beside infinities included."""
    check(lambda a, b: np.einsum(subscripts, a, b), *[array(*shape, seed=k) for k, shape in enumerate(shapes)])
    summed = subscripts.split("->")[0] + "->"
    a, b = [array(*shape, seed=k) for k, shape in enumerate(shapes)]
    check(lambda a, b: np.einsum(summed, a, b), a, b)
    infinite = np.full_like(b, np.inf)
    (found,) = gl.grad(lambda a: np.sum(np.einsum(subscripts, a, infinite)[:0] * 1.0), argnums=(0,))(a)
    np.testing.assert_array_equal(found, np.zeros_like(a))
