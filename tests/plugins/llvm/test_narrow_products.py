"""Products of matrices with one long axis, as loops: beside NumPy's, in all layouts, with special values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.compiler import AbstractCompiler, compilers
from gradloom.graph import Graph
from gradloom.op import Op, ops
from gradloom.plan import Plan
from gradloom.regions import REGION
from gradloom.testing.compilers import assert_close, strict, threads_of_kernels
from gradloom.testing.sample import rng
from gradloom_llvm import kernel as kernel_module
from gradloom_llvm import layout as layout_module
from gradloom_llvm.kernel import Kernel
from gradloom_llvm.products import SMALL
from gradloom_llvm.statements import PRODUCTS

LLVM = compilers.get("llvm")
NUMPY = backends.get("numpy")
#: Long and short axes; 137 is no multiple of any vector.
N, D, E, K = 137, 5, 9, 3


class Products(AbstractCompiler):
    """The LLVM compiler, which takes single products, too."""

    name = "products"
    backend = "numpy"

    def forms(self, op: Op, *args: Any) -> int:
        """Return the forms of a node, the general one of any product."""
        return LLVM.forms(op, *args) | (op.name in PRODUCTS)

    def compile(self, region: Graph) -> Any:
        """Return a kernel of loops."""
        return Kernel(region).function()


@pytest.fixture(params=["few", "many"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Cut the rows into few chunks, or into as many as there can be."""
    monkeypatch.setattr(kernel_module, "THREAD_SECONDS", 0)
    if request.param == "many":
        for name, value in [("CHUNK_POINTS", 1), ("TILED_BLOCK_BYTES", 1), ("WIDE", 0)]:
            monkeypatch.setattr(layout_module, name, value)
    return str(request.param)


def compiled(f: Callable[..., Any], *args: Any, regions: int = 1) -> list[Any]:
    """Return what a compiled function gives, the same bits on one thread and on three; no product stays outside."""
    graph = gl.make_graph(f)(*args)
    plan = Plan(graph, NUMPY, strict(Products()))
    names = [op.name for op, _, _ in plan.graph.nodes]
    assert "matmul" not in names
    assert "annihilating_matmul" not in names
    assert names.count(REGION.name) == regions
    with threads_of_kernels(1):
        got = plan.run(args)
    with threads_of_kernels(3):
        again = plan.run(args)
    for a, b in zip(got, again, strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    return got


def careful(a: Any, b: Any, zeros: int) -> Any:
    """Multiply matrices; exact zeros of one factor annihilate."""
    if isinstance(a, gl.Tensor) or isinstance(b, gl.Tensor):
        return ops["annihilating_matmul"](a, b, zeros=zeros)
    kernel, keywords = NUMPY.kernel(ops["annihilating_matmul"], (zeros,))
    return kernel(a, b, **keywords)


def there_and_back(x: Any, y: Any, w: Any) -> Any:
    z = np.tanh(x @ w)
    return z.mT @ x, np.sum(z, axis=0)


PROGRAMS: dict[str, Callable[..., Any]] = {
    "rows": lambda x, y, w: np.tanh(x) @ w[0],
    "rows transposed": lambda x, y, w: w[0].T @ np.tanh(x).T,
    "rows of each matrix": lambda x, y, w: np.sum((x - w[:, :1, :D]) @ w, axis=2),
    "sums over rows": lambda x, y, w: np.tanh(x).T @ np.sin(y),
    "sums over rows of each matrix": lambda x, y, w: (x * w[:, :1, :D]).mT @ np.cos(y),
    "there and back": there_and_back,
    "one after the other": lambda x, y, w: np.exp(-np.square(np.tanh(x @ w) @ w.mT)),
    "also along the rows": lambda x, y, w: np.max(x @ w, axis=0) / np.sum(np.exp(y), axis=0),
    "after a sum of all": lambda x, y, w: (x / np.sum(x * x)) @ w[0] + y,
}


LAYOUTS: dict[str, Callable[[Any], Any]] = {
    "float64": np.ascontiguousarray,
    "float32": np.asfortranarray,
}


@pytest.mark.parametrize("dtype", LAYOUTS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_products(name: str, dtype: str, chunks: str) -> None:
    """They give what NumPy gives in float64, but for rounding."""
    f = PROGRAMS[name]
    exact = [rng(k).normal(size=shape) for k, shape in enumerate([(N, D), (N, E), (K, D, E)])]
    want = f(*exact)
    args = [LAYOUTS[dtype](x.astype(dtype)) for x in exact]
    for a, b in zip(compiled(f, *args), want if isinstance(want, tuple) else (want,), strict=True):
        rounding = 1e-11 if dtype == "float64" else 1e-3
        np.testing.assert_allclose(a, b, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("vector_bytes", [16, 32])
@pytest.mark.parametrize("name", ["rows of each matrix", "there and back"])
def test_narrow_vectors(name: str, vector_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other machines have shorter vectors, and no masks."""
    monkeypatch.setattr(kernel_module, "host_vector_bytes", lambda: vector_bytes)
    f = PROGRAMS[name]
    args = [rng(k).normal(size=shape) for k, shape in enumerate([(N, D), (N, E), (K, D, E)])]
    want = f(*args)
    for a, b in zip(compiled(f, *args), want if isinstance(want, tuple) else (want,), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("zeros", [None, 0, 1])
@pytest.mark.parametrize("along", ["rows", "sums over rows"])
def test_special_values(along: str, zeros: int | None, chunks: str) -> None:
    """NaN, infinities and zeros go through a product as NumPy takes them; careful ones let zeros annihilate."""
    special = np.array([0.0, -0.0, 1.0, -2.5, 1e-310, np.inf, -np.inf, np.nan])
    rates = [0.3, 0.1, 0.3, 0.24, 0.03, 0.01, 0.01, 0.01]
    for seed in range(3):
        shapes = [(N, D), (D, E)] if along == "rows" else [(D, N), (N, E)]
        a, b = [rng(seed).choice(special, shape, p=rates) for shape in shapes]
        if zeros is not None and seed == 2:  # whole rows of zeros beside whole rows that are not finite
            (a, b)[zeros][:] = 0.0
            (a, b)[1 - zeros][:] = np.nan

        def f(a: Any, b: Any) -> Any:
            return -(a @ b if zeros is None else careful(a, b, zeros))

        with np.errstate(invalid="ignore"):
            want = _sums(a, b, zeros)
        (got,) = compiled(f, a, b)
        np.testing.assert_allclose(-got, want, rtol=1e-12)


def _sums(a: Any, b: Any, zeros: int | None) -> Any:
    """Return a product, term by term."""
    terms = a[:, :, None] * b[None]
    if zeros is not None:
        is_zero = np.broadcast_to(a[:, :, None] == 0 if zeros == 0 else b[None] == 0, terms.shape)
        terms = np.where(is_zero, 0.0, terms)
    return np.sum(terms, axis=1)


def test_gradients_of_a_mixture(chunks: str) -> None:
    """Value and gradients of a mixture of Gaussians: one region holds the samples from the data to the sums."""
    from gradloom.special import logsumexp

    def loss(means: Any, factors: Any, x: Any) -> Any:
        distance = np.sum(((x - means[:, None]) @ factors) ** 2, axis=2)
        return np.sum(logsumexp(-0.5 * distance, axis=0))

    args = rng(1).normal(size=(K, D)), rng(2).normal(size=(K, D, D)), rng(3).normal(size=(N, D))
    f = gl.value_and_grad(loss, (0, 1))
    value, gradients = gl.jit(f)(*args)
    want, wanted = f(*args)
    assert_close(value, want, 8)
    for a, b in zip(gradients, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10)


def test_arrays_that_would_be_turned_in_memory_are_left_to_blas() -> None:
    """Where a product reads given arrays once, and where it returns one, it has the bits of NumPy's."""
    columns = 3  # so few multiply-adds that a product outside of loops is one of BLAS
    assert N * columns * E < SMALL
    x, y, w = [rng(k).normal(size=shape) for k, shape in enumerate([(K, N, columns), (K, N, E), (K, columns, E)])]
    for f, args in [(lambda x, w: -(x @ w), (x, w)), (lambda x, y: (2 * (x.mT @ y), np.abs(x)), (x, y))]:
        found, wanted = LLVM.compile(gl.make_graph(f)(*args))(*args), f(*args)
        for a, b in zip(*(r if isinstance(r, tuple) else (r,) for r in (found, wanted)), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shapes", [((N, 1), (1, E)), ((K, N, 1), (1, E)), ((2, 1, N, 1), (K, 1, E))], ids=str)
@pytest.mark.parametrize("zeros", [None, 0, 1])
def test_columns_times_rows_are_elementwise(shapes: Any, zeros: int | None) -> None:
    """Fused with what is around them; special values and the sign of zeros as in a sum of one term."""
    special = np.array([0.0, -0.0, 1.0, -2.5, np.inf, -np.inf, np.nan])
    a, b = (rng(k).choice(special, shape) for k, shape in enumerate(shapes))
    f = (lambda a, b: -(a @ b)) if zeros is None else lambda a, b: -careful(a, b, zeros)
    plan = Plan(gl.make_graph(f)(a, b), NUMPY, strict(LLVM))
    assert [op.name for op, args, _ in plan.graph.nodes if args] == [REGION.name]
    with np.errstate(all="ignore"):
        product = a * b
        if zeros is not None:
            product = np.where((a, b)[zeros] == 0, 0.0, product)
        wanted = -(product + 0.0)
        (found,) = plan.run([a, b])
        np.testing.assert_array_equal(found, wanted)
        known = ~np.isnan(wanted)
        np.testing.assert_array_equal(np.signbit(found[known]), np.signbit(wanted[known]))
        if zeros is None:  # by NumPy itself, and by the backend's kernel alone
            for other in (-(a @ b), -NUMPY.kernels["matmul"](a, b)):
                np.testing.assert_array_equal(other, found)
                np.testing.assert_array_equal(np.signbit(other[known]), np.signbit(found[known]))


def test_what_blas_does_better_stays_outside() -> None:
    """Long sums, wide results, few rows, and single products."""
    sizes = [(9, 200, 64, 64), (9, 64, 8, 8), (9, 300, 300, 4), (9, 8, 200, 64), (1, 200, 8, 8), (9, 200, 8, 9)]
    inside = []
    for stack, m, k, n in sizes:
        graph = gl.make_graph(lambda a, b: np.tanh(a @ b))(np.ones((stack, m, k)), np.ones((stack, k, n)))
        inside.append("matmul" not in [op.name for op, _, _ in Plan(graph, NUMPY, LLVM).graph.nodes])
    assert inside == [False] * 5 + [True]
