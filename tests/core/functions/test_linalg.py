"""numpy.linalg on tensors: values, gradients, special matrices, batches, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import GradloomError
from gradloom.testing import differences

Array = Any


def array(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).uniform(-1, 1, shape)


def regular(*shape: int, seed: int = 0) -> Array:
    return array(*shape, seed=seed) + 2.5 * np.eye(shape[-2], shape[-1])


def symmetric(a: Array) -> Array:
    return (a + np.conj(np.matrix_transpose(a))) / 2


def positive(n: int) -> Array:
    return symmetric(array(n, n)) + np.diag(2.0 * np.arange(1, n + 1))


def check(f: Callable[..., Any], *args: Array) -> None:
    """Compare the traced value and every gradient with NumPy's function and its differences."""
    expected = np.asarray(f(*args))
    weights = np.random.default_rng(9).uniform(0.5, 1.5, expected.shape)
    for k, x in enumerate(args):
        out, pullback = gl.vjp(lambda t, k=k: f(*args[:k], t, *args[k + 1 :]), x)
        np.testing.assert_allclose(out, expected, rtol=1e-12, atol=1e-13)
        assert np.asarray(out).dtype == expected.dtype
        wanted = differences.jacobian(lambda *a: np.sum(f(*a) * weights), args, k, step=5e-3)
        np.testing.assert_allclose(pullback(weights)[0], wanted, rtol=1e-9, atol=1e-10)


A = regular(3, 3)
STACK = regular(2, 3, 3)
TALL = array(4, 3) + 2 * np.eye(4, 3)
#: Singular values far apart.
APART = 0.3 * array(3, 3) + np.diag([4.0, 2.0, 1.0])

FUNCTIONS: list[tuple[str, Callable[..., Any], tuple[Array, ...]]] = [
    ("solve", np.linalg.solve, (A, array(3, 2))),
    ("solve vector", np.linalg.solve, (A, array(3))),
    ("solve stack", np.linalg.solve, (STACK, array(3))),
    ("inv", np.linalg.inv, (STACK,)),
    ("det", np.linalg.det, (STACK,)),
    ("slogdet", lambda a: np.linalg.slogdet(a).logabsdet, (STACK,)),
    ("cholesky", lambda a: np.linalg.cholesky(symmetric(a)), (positive(3),)),
    ("cholesky upper", lambda a: np.linalg.cholesky(symmetric(a), upper=True), (positive(3),)),
    ("eigh", lambda a: np.linalg.eigh(symmetric(a)).eigenvalues, (positive(3),)),
    ("eigh upper", lambda a: np.linalg.eigh(symmetric(a), "U")[0], (positive(3),)),
    ("eigh projector", lambda a: np.linalg.eigh(symmetric(a))[1][:, :1] ** 2, (positive(3),)),
    ("eigvalsh", lambda a: np.linalg.eigvalsh(symmetric(a)), (positive(3),)),
    ("eigvalsh upper", lambda a: np.linalg.eigvalsh(symmetric(a), UPLO="U"), (positive(3),)),
    ("qr", lambda a: np.linalg.qr(a).Q ** 2, (TALL,)),
    ("qr r", lambda a: np.linalg.qr(a, mode="r") ** 2, (TALL,)),
    ("svd", lambda a: np.linalg.svd(a, full_matrices=False).Vh ** 2, (TALL,)),
    ("svd square", lambda a: np.linalg.svd(a)[0] ** 2, (APART,)),
    ("svd values", lambda a: np.linalg.svd(a, compute_uv=False), (TALL,)),
    ("svdvals", np.linalg.svdvals, (TALL,)),
    ("pinv", np.linalg.pinv, (TALL,)),
    ("pinv rcond", lambda a: np.linalg.pinv(a, rcond=1e-3), (TALL.T,)),
    ("pinv rtol", lambda a: np.linalg.pinv(a, rtol=1e-3), (TALL.T,)),
    ("lstsq", lambda a, b: np.linalg.lstsq(a, b)[0], (TALL, array(4, 2))),
    ("lstsq vector", lambda a, b: np.linalg.lstsq(a, b)[0], (TALL, array(4))),
    ("lstsq residuals", lambda a, b: np.linalg.lstsq(a, b)[1], (TALL, array(4, 2))),
    ("lstsq wide", lambda a, b: np.linalg.lstsq(a, b)[0], (TALL.T, array(3))),
    ("matrix_power", lambda a: np.linalg.matrix_power(a, 5), (A / 3,)),
    ("matrix_power negative", lambda a: np.linalg.matrix_power(a, -3), (A,)),
    ("matrix_power 0", lambda a: np.linalg.matrix_power(a, 0), (STACK,)),
    ("multi_dot", lambda *a: np.linalg.multi_dot(a), (array(2, 3), array(3, 1), array(1, 4), array(4, 2))),
    ("multi_dot vectors", lambda *a: np.linalg.multi_dot(a), (array(3), A, array(3, seed=2))),
    ("tensorinv", lambda a: np.linalg.tensorinv(a, ind=1), (regular(6, 6).reshape(6, 2, 3),)),
    ("tensorsolve", np.linalg.tensorsolve, (regular(6, 6).reshape(2, 3, 6), array(2, 3))),
    ("matrix_transpose", np.linalg.matrix_transpose, (array(2, 3),)),
    ("diagonal", lambda a: np.linalg.diagonal(a, offset=1), (STACK,)),
    ("trace", lambda a: np.linalg.trace(a, offset=-1), (STACK,)),
    ("cond", np.linalg.cond, (APART,)),
    ("cond -2", lambda a: np.linalg.cond(a, -2), (APART,)),
    ("cond fro", lambda a: np.linalg.cond(a, "fro"), (STACK,)),
]


@pytest.mark.parametrize(("f", "args"), [pytest.param(f, args, id=name) for name, f, args in FUNCTIONS])
def test_equals_numpy(f: Callable[..., Any], args: tuple[Array, ...]) -> None:
    check(f, *args)


def test_several_outputs_have_the_names_of_numpy() -> None:
    def f(a: Array) -> Any:
        q, r = np.linalg.qr(a)
        w, v = np.linalg.eigh(symmetric(a))
        u, s, vh = np.linalg.svd(a)
        assert np.linalg.slogdet(a).sign.shape == ()
        assert np.linalg.svd(a).S.shape == s.shape
        assert np.linalg.qr(a).R.shape == r.shape
        assert np.linalg.eigh(symmetric(a)).eigenvectors.shape == v.shape
        return q @ r + (v * w) @ v.T + (u * s) @ vh

    np.testing.assert_allclose(gl.vjp(f, A)[0], A + symmetric(A) + A, rtol=1e-12)


def test_lstsq_returns_what_numpy_does() -> None:
    b = array(4, 2)
    seen: list[Any] = []

    def f(a: Array) -> Any:
        x, residuals, rank, values = np.linalg.lstsq(a, b)
        seen.append(rank)
        return np.sum(x) + np.sum(residuals) + np.sum(values)

    x, residuals, rank, values = np.linalg.lstsq(TALL, b)
    np.testing.assert_allclose(gl.value_and_grad(f)(TALL)[0], x.sum() + residuals.sum() + values.sum(), rtol=1e-12)
    assert seen == [rank]


# -- norms ---------------------------------------------------------------------------------

V = np.array([1.5, -0.5, 2.5, -1.0])
M = np.array([[1.0, -2.0, 0.5], [0.25, 3.0, -1.5]])
CUBE = np.random.default_rng(8).permutation(np.linspace(0.3, 2.7, 24)).reshape(2, 3, 4)
INF = np.inf

NORMS: list[tuple[str, Callable[..., Any], Array]] = [
    *[(f"vector {p}", lambda x, p=p: np.linalg.norm(x, p), V) for p in (None, 0, 1, 2, 3, 0.5, -1, 2.5, INF, -INF)],
    *[(f"matrix {p}", lambda x, p=p: np.linalg.norm(x, p), M) for p in (None, "fro", "nuc", 1, -1, 2, -2, INF, -INF)],
    *[
        (f"axes {p}", lambda x, p=p: np.linalg.norm(x, p, axis=(2, 0), keepdims=True), CUBE)
        for p in (None, "nuc", 1, 2, -INF)
    ],
    *[(f"axis {p}", lambda x, p=p: np.linalg.norm(x, p, axis=1), CUBE) for p in (None, 1, 3, INF)],
    ("ravelled", np.linalg.norm, CUBE),
    ("keepdims", lambda x: np.linalg.norm(x, axis=-1, keepdims=True), M),
    ("vector_norm", lambda x: np.linalg.vector_norm(x, axis=(0, 2), ord=3, keepdims=True), CUBE),
    ("vector_norm all", np.linalg.vector_norm, CUBE),
    ("matrix_norm", np.linalg.matrix_norm, CUBE),
    ("matrix_norm nuc", lambda x: np.linalg.matrix_norm(x, ord="nuc", keepdims=True), CUBE),
]


@pytest.mark.parametrize(("f", "x"), [pytest.param(f, x, id=name) for name, f, x in NORMS])
def test_norms_equal_numpy(f: Callable[..., Any], x: Array) -> None:
    check(f, x)


def test_norm_of_complex_numbers() -> None:
    z = np.array([3.0 - 4.0j, 1.0j])
    value, gradient = gl.value_and_grad(np.linalg.norm)(z)
    np.testing.assert_allclose(value, np.sqrt(26.0), rtol=1e-15)
    # d|z|/dx - i d|z|/dy = conj(z) / |z|
    np.testing.assert_allclose(gradient, np.conj(z) / np.sqrt(26.0), rtol=1e-15)


@pytest.mark.parametrize("p", [None, 0.5, 1, 2, 3, 2.5, INF])
def test_norm_at_zero_has_zero_gradient(p: Any) -> None:
    np.testing.assert_array_equal(gl.grad(lambda x: np.linalg.norm(x, p))(np.zeros(3)), np.zeros(3))


@pytest.mark.parametrize("p", ["fro", "nuc", 1, INF])
def test_matrix_norm_at_zero_is_finite(p: Any) -> None:
    assert np.all(np.isfinite(gl.grad(lambda x: np.linalg.norm(x, p))(np.zeros((2, 3)))))


def test_norm_of_rows_of_which_one_is_zero() -> None:
    x = np.array([[3.0, 4.0], [0.0, 0.0]])
    found = gl.grad(lambda x: np.sum(np.linalg.norm(x, axis=1)))(x)
    np.testing.assert_allclose(found, [[0.6, 0.8], [0.0, 0.0]], rtol=1e-15)
    assert np.all(np.isfinite(gl.hvp(lambda x: np.sum(np.linalg.norm(x, axis=1)))(x, np.ones((2, 2)))))


def test_norm_keeps_float32_and_nan() -> None:
    assert gl.grad(np.linalg.norm)(np.ones(3, np.float32)).dtype == np.float32
    assert np.isnan(gl.value_and_grad(np.linalg.norm)(np.array([np.nan, 1.0]))[0])


# -- special matrices ----------------------------------------------------------------------


def _rank(n: int, rank: int) -> Array:
    u = np.linalg.qr(array(n, n))[0]
    v = np.linalg.qr(array(n, n, seed=1))[0]
    return (u * ([2.0, 1.5, 0.5][:rank] + [0.0] * (n - rank))) @ v


def test_gradient_of_a_zero_determinant_is_the_adjugate() -> None:
    a = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    adjugate = np.array([[-3.0, 6.0, -3.0], [6.0, -12.0, 6.0], [-3.0, 6.0, -3.0]])
    np.testing.assert_allclose(gl.grad(np.linalg.det)(a), adjugate.T, atol=1e-13)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_gradient_of_the_determinant_at_any_rank(rank: int) -> None:
    a = _rank(3, rank)
    expected = differences.jacobian(np.linalg.det, (a,), 0)
    np.testing.assert_allclose(gl.grad(np.linalg.det)(a), expected, atol=1e-13)
    _, tangent = gl.jvp(np.linalg.det, (a,), (array(3, 3, seed=2),))
    np.testing.assert_allclose(tangent, np.sum(expected * array(3, 3, seed=2)), atol=1e-13)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_masked_matrix_of_nan_leaves_no_trace() -> None:
    a = np.stack([A, np.full((3, 3), np.nan)])
    functions: list[Callable[..., Any]] = [
        np.linalg.det,
        lambda a: np.sum(np.linalg.inv(a), axis=(1, 2)),
        lambda a: np.linalg.solve(a, V[:3])[:, 0],
        lambda a: np.linalg.norm(a, axis=(1, 2)),
    ]
    for f in functions:
        found = gl.grad(lambda a, f=f: np.sum(np.where(np.array([True, False]), f(a), 0.0)))(a)
        np.testing.assert_array_equal(found[1], np.zeros((3, 3)))
        assert np.all(np.isfinite(found[0]))


def test_equal_eigenvalues() -> None:
    q = np.linalg.qr(array(3, 3))[0]
    for a in (np.eye(3), symmetric((q * np.array([2.0, 2.0, 5.0])) @ q.T)):
        np.testing.assert_allclose(gl.grad(lambda a: np.sum(np.linalg.eigvalsh(a)))(a), np.eye(3), atol=1e-14)
        found = gl.grad(lambda a: np.sum(np.linalg.eigh(a)[0] ** 3))(a)
        np.testing.assert_allclose(found, 3 * a @ a, atol=1e-12)


def test_eigenvectors_of_equal_eigenvalues_have_no_number_as_gradient() -> None:
    # Any rotation of the eigenvectors is as good: a finite gradient would be invented.
    found = gl.grad(lambda a: np.sum(np.linalg.eigh(a)[1] * A))(np.eye(3))
    assert not np.all(np.isfinite(found))


def test_equal_and_zero_singular_values() -> None:
    np.testing.assert_allclose(gl.grad(lambda a: np.linalg.norm(a, "nuc"))(np.eye(3)), np.eye(3), atol=1e-15)
    found = gl.grad(lambda a: np.sum(np.linalg.svdvals(a) ** 2))(np.diag([2.0, 0.0, 0.0])[:, :2])
    np.testing.assert_allclose(found, 2 * np.diag([2.0, 0.0, 0.0])[:, :2], atol=1e-15)


def test_reconstruction_has_the_identity_as_derivative() -> None:
    def rebuilt(a: Array) -> Any:
        w, v = np.linalg.eigh(a)
        u, s, vh = np.linalg.svd(a)
        return (v * w) @ v.T + (u * s) @ vh

    a, direction = positive(3), symmetric(array(3, 3, seed=4))
    _, tangent = gl.jvp(rebuilt, (a,), (direction,))
    np.testing.assert_allclose(tangent, 2 * direction, atol=1e-13)


@pytest.mark.parametrize("lower", [True, False])
def test_eigh_reads_one_triangle(lower: bool) -> None:
    a = positive(3)
    spoilt = np.where(np.tri(3, k=0 if lower else -1, dtype=bool) == lower, a, 77.0)
    out = gl.vjp(lambda a: np.linalg.eigvalsh(a, "L" if lower else "U"), spoilt)[0]
    np.testing.assert_allclose(out, np.linalg.eigvalsh(a), rtol=1e-13)


@pytest.mark.parametrize("upper", [False, True])
def test_cholesky_reads_one_triangle_and_has_a_symmetric_gradient(upper: bool) -> None:
    a = positive(3)
    spoilt = np.where(np.tri(3, k=-1 if upper else 0, dtype=bool) != upper, a, 77.0)
    out, pullback = gl.vjp(lambda a: np.linalg.cholesky(a, upper=upper), spoilt)
    np.testing.assert_allclose(out, np.linalg.cholesky(a, upper=upper), rtol=1e-13)
    found = pullback(array(3, 3, seed=5))[0]
    np.testing.assert_allclose(found, found.T, rtol=1e-12)


def test_gradients_of_complex_eigenvectors_by_functions_without_phase() -> None:
    def f(a: Array) -> Any:
        w, v = np.linalg.eigh(symmetric(a))
        return np.sum(np.abs(v) ** 2 * A) + np.sum(w**2)

    a = symmetric(A + 1j * array(3, 3, seed=3))
    expected = differences.complex_jacobian(f, (a,), 0, step=5e-3)
    np.testing.assert_allclose(gl.grad(f)(a), expected, rtol=1e-9, atol=1e-10)


def test_gradient_of_complex_qr() -> None:
    a = TALL + 0.5j * array(4, 3, seed=6)

    def f(a: Array) -> Any:
        q, r = np.linalg.qr(a)
        return np.sum(np.abs(q) ** 2 * TALL) + np.sum(np.abs(r) ** 3)

    np.testing.assert_allclose(gl.grad(f)(a), differences.complex_jacobian(f, (a,), 0, 5e-3), rtol=1e-9, atol=1e-10)


# -- vmap ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [np.linalg.inv, np.linalg.det, lambda a: np.linalg.solve(a, A), lambda a: np.linalg.eigvalsh(symmetric(a))],
    ids=["inv", "det", "solve", "eigvalsh"],
)
def test_vmap_of_values_and_gradients(f: Callable[..., Any]) -> None:
    stack = regular(4, 3, 3, seed=7)
    np.testing.assert_allclose(gl.vmap(f)(stack), np.stack([f(a) for a in stack]), rtol=1e-12, atol=1e-13)
    gradient = gl.grad(lambda a: np.sum(f(a) ** 2))
    np.testing.assert_allclose(gl.vmap(gradient)(stack), np.stack([gradient(a) for a in stack]), rtol=1e-12, atol=1e-13)


# -- errors --------------------------------------------------------------------------------


def test_singular_matrix_names_op_and_line() -> None:
    with pytest.raises(np.linalg.LinAlgError, match="Singular matrix") as caught:
        gl.grad(lambda a: np.sum(np.linalg.inv(a)))(np.zeros((2, 2)))
    (note,) = caught.value.__notes__
    assert "op 'inv'" in note
    assert "test_linalg.py:" in note
    with pytest.raises(np.linalg.LinAlgError, match="not positive definite") as caught:
        gl.jit(np.linalg.cholesky)(-np.eye(2))
    assert "op 'cholesky'" in caught.value.__notes__[0]
    with pytest.raises(np.linalg.LinAlgError) as caught:
        gl.grad(lambda a: np.linalg.slogdet(a)[1])(np.zeros((2, 2)))
    assert "the gradient of op 'slogdet'" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("f", "text"),
    [
        (np.linalg.inv, "inv: not square\n  argument: a\n  expected: last two axes of equal length"),
        (np.linalg.inv, "got: shape (2, 3)"),
        (np.linalg.det, "det: not square"),
        (lambda a: np.linalg.inv(a[0]), "inv: not a matrix"),
        (lambda a: np.linalg.solve(a @ a.T, a[0]), "solve: right-hand side does not fit the matrix\n  argument: b"),
        (lambda a: np.linalg.solve(a @ a.T, a[0]), "expected: an array of shape (..., 2, k); or (2,)"),
        (lambda a: np.linalg.solve(np.zeros((3, 2, 2)), np.stack([a] * 4)), "solve: leading axes do not broadcast"),
        (lambda a: np.linalg.qr(a.T, mode="complete"), "argument: mode"),
        (np.linalg.svd, "remedy: pass full_matrices=False"),
        (lambda a: np.linalg.svd(a, False, hermitian=True), "argument: hermitian"),
        (lambda a: np.linalg.pinv(a, hermitian=True), "argument: hermitian"),
        (lambda a: np.linalg.pinv(a, rcond=np.array([0.1, 0.2])), "argument: rcond"),
        (lambda a: np.linalg.eigh(a @ a.T, UPLO="X"), "no such triangle"),
        (np.linalg.matrix_rank, "numpy.linalg.matrix_rank: this function has no traced counterpart\n"),
        (lambda a: np.linalg.matrix_power(a, 2), "not square"),
        (lambda a: np.linalg.matrix_power(a @ a.T, 0.5), "the exponent must be an integer"),
        (lambda a: np.linalg.multi_dot([a]), "not a chain of matrices"),
        (lambda a: np.linalg.multi_dot([a, a.T], out=np.empty((2, 2))), "argument: out"),
        (lambda a: np.linalg.tensorinv(a, ind=0), "no axes to invert"),
        (lambda a: np.linalg.tensorsolve(a @ a.T, a[:, 0], axes=(0,)), "argument: axes"),
        (lambda a: np.linalg.norm(a, 3), "no such norm"),
        (lambda a: np.linalg.norm(a[0], "fro"), "no such norm"),
        (lambda a: np.linalg.norm(a[None], 1), "norms are of vectors or matrices"),
        (lambda a: np.linalg.norm(a, axis=2), "axis out of range"),
        (lambda a: np.linalg.inv(a.astype(np.float16)[:, :2]), "no linear algebra in this precision"),
    ],
)
def test_refusals(f: Callable[..., Any], text: str) -> None:
    with pytest.raises(GradloomError) as caught:
        gl.make_graph(f)(array(2, 3))
    assert text in str(caught.value)


def test_rank_deficient_least_squares_is_refused() -> None:
    with pytest.raises(GradloomError, match="rank 1") as caught:
        gl.grad(lambda a: np.sum(np.linalg.lstsq(a, V)[0]))(np.ones((4, 2)))
    assert "np.linalg.pinv(a) @ b" in str(caught.value)


COMPLEX = regular(3, 2) + 1j * array(3, 2, seed=1)


@pytest.mark.parametrize("z", [COMPLEX, COMPLEX.T, regular(2, 2) + 1j * array(2, 2)], ids=["tall", "wide", "square"])
@pytest.mark.parametrize(
    "f",
    [
        lambda z: np.sum(np.linalg.svd(z, full_matrices=False)[1] ** 3),
        lambda z: np.sum(np.abs(np.linalg.svd(z, full_matrices=False)[0][:, 0]) ** 4),
        lambda z: np.sum(np.abs(np.linalg.svd(z, full_matrices=False)[2][0]) ** 4),
        lambda z: np.sum(np.real(polar(z) * np.array([1.0 + 2j, 3.0 - 1j]))) if z.shape[1] == 2 else np.real(z[0, 0]),
        lambda z: np.linalg.norm(z, 2) + np.linalg.norm(z, "nuc"),
    ],
)
def test_complex_singular_vectors(f: Callable[..., Any], z: Array) -> None:
    """Whatever does not depend on the phases that singular vectors are free in has a gradient."""
    wanted = differences.complex_jacobian(f, (z,), 0, step=4e-3)
    np.testing.assert_allclose(gl.grad(f)(z), wanted, rtol=1e-8, atol=1e-9)
    t = array(*z.shape, seed=5) - 1j * array(*z.shape, seed=6)
    np.testing.assert_allclose(gl.jvp(f, (z,), (t,))[1], np.real(np.sum(wanted * t)), rtol=1e-8, atol=1e-9)


def polar(z: Array) -> Any:
    """Return the unitary factor."""
    u, _, vh = np.linalg.svd(z, full_matrices=False)
    return u @ vh


#: Two eigenvalues are complex.
ROTATING = np.array([[1.0, -2.0, 0.5], [2.5, 1.0, 0.25], [0.5, 0.125, 4.0]])


@pytest.mark.parametrize("a", [ROTATING, ROTATING + 1j * array(3, 3)], ids=["real", "complex"])
@pytest.mark.parametrize(
    "f",
    [
        lambda a: np.sum(np.real(np.linalg.eigvals(a)) * np.array([1.0, 2.0, 3.0])),
        lambda a: np.sum(np.abs(np.linalg.eigvals(a)) ** 2),
        lambda a: np.sum(np.abs(np.linalg.eig(a)[1]) ** 4),
        lambda a: np.real(np.sum(np.linalg.eig(a).eigenvalues ** 3)),
    ],
)
def test_eig(f: Callable[..., Any], a: Array) -> None:
    """Eigenvalues, and what does not depend on the phases of eigenvectors."""
    jacobian = differences.complex_jacobian if a.dtype.kind == "c" else differences.jacobian
    wanted = jacobian(f, (a,), 0, step=4e-3)
    np.testing.assert_allclose(gl.value_and_grad(f)(a)[0], f(a), rtol=1e-12)
    np.testing.assert_allclose(gl.grad(f)(a), wanted, rtol=1e-8, atol=1e-9)


def test_eig_is_complex_always() -> None:
    """Whether eigenvalues are real depends on values; dtypes do not."""
    w, v = gl.jit(lambda a: tuple(np.linalg.eig(a)))(positive(3))
    expected = np.linalg.eig(positive(3))
    assert w.dtype == v.dtype == np.complex128
    np.testing.assert_array_equal(w, expected[0])
    np.testing.assert_array_equal(v, expected[1])
    assert gl.make_graph(np.linalg.eigvals)(np.eye(2, dtype=np.float32)).output_specs()[0].dtype == np.complex64


def test_wide_qr() -> None:
    """Q comes from the first columns."""
    wide = TALL.T + array(3, 4, seed=2)
    check(lambda a: np.linalg.qr(a)[0] ** 2, wide)
    check(lambda a: np.linalg.qr(a)[1] ** 2, wide)
    check(lambda a: np.linalg.qr(a, mode="r"), np.stack([wide, -wide]))
    z = wide[:2, :3] + 1j * array(2, 3)
    q, r = gl.jit(lambda a: tuple(np.linalg.qr(a)))(z)
    np.testing.assert_allclose(q @ r, z, rtol=1e-13)


@pytest.mark.parametrize("rank", [3, 2, 1, 0])
@pytest.mark.parametrize("dtype", [float, complex])
def test_second_derivative_of_a_determinant_of_any_rank(rank: int, dtype: Any) -> None:
    """A determinant is a polynomial: it has a Hessian where the matrix has no inverse."""
    a = (array(3, rank) @ array(rank, 3, seed=1)).astype(dtype)
    if dtype is complex:
        a = a * (1 + 0.5j)
    t, u = array(3, 3, seed=2), array(3, 3, seed=3)

    def det(x: Any, y: Any) -> Any:
        return np.real(np.linalg.det(a + x * t + y * u))

    wanted = differences.jacobian(lambda x: differences.jacobian(det, (np.array(0.0), x), 0), (np.array(0.0),), 0)
    got = gl.grad(lambda y: gl.grad(det)(0.0, y))(0.0)
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(gl.jvp(lambda y: gl.jvp(lambda x: det(x, y), (0.0,), (1.0,))[1], (0.0,), (1.0,))[1], got)


def test_integers_become_float64() -> None:
    graph = gl.make_graph(lambda a: np.linalg.inv(a))(np.array([[2, 1], [1, 1]]))
    assert graph.specs[graph.outputs[0]].dtype == np.float64


def test_least_squares_without_values() -> None:
    """Under jit full rank is taken for granted, and the rank is a result like others."""
    b = array(4)
    solution, residuals, rank, values = gl.jit(np.linalg.lstsq)(TALL, b)
    for got, expected in zip((solution, residuals, rank, values), np.linalg.lstsq(TALL, b), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-9)


@pytest.mark.parametrize("dtype", [float, complex])
def test_systems_of_cholesky_factors_are_triangular(dtype: type) -> None:
    """Value and gradient as those of any matrix; no general solver is left."""
    a = regular(3, 3).astype(dtype)
    a = a @ np.conj(a.T) + (0 if dtype is float else 0.3j * (np.tri(3, k=-1) - np.tri(3).T + np.eye(3)))
    b = array(3, 2).astype(dtype)

    def f(a: Any, b: Any, identity: Any) -> Any:
        factor = np.linalg.cholesky(a) + identity
        x = np.linalg.solve(factor, b)
        y = np.linalg.solve(np.conj(factor.mT), x)
        return np.sum(np.real(y * y)) + np.sum(np.real(np.linalg.solve(factor.T, b[:, 0])))

    def g(a: Any, b: Any) -> Any:
        factor = np.linalg.cholesky(a)
        x = np.linalg.solve(factor, b)
        y = np.linalg.solve(np.conj(factor.mT), x)
        return np.sum(np.real(y * y)) + np.sum(np.real(np.linalg.solve(factor.T, b[:, 0])))

    (value, grads), (expected, others) = (
        gl.value_and_grad(g, (0, 1))(a, b),
        gl.value_and_grad(f, (0, 1))(a, b, np.zeros_like(a)),
    )
    np.testing.assert_allclose(value, g(a, b), rtol=1e-12)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for one, other in zip(grads, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-11, atol=1e-12)
    ops = {node[0].name for node in gl.make_graph(gl.grad(g, (0, 1)))(a, b).nodes}
    assert "solve_triangular" in ops
    assert not ops & {"solve", "annihilating_solve"}
