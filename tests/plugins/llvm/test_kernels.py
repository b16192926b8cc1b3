"""Kernels of the LLVM compiler: reductions over all axes, chains, products with vectors; against NumPy's own."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.compiler import AbstractCompiler, compilers
from gradloom.graph import Graph
from gradloom.op import ops
from gradloom.plan import Plan
from gradloom.testing.compilers import LENGTHS, assert_close, outputs_of, reference, strict, takes, threads_of_kernels
from gradloom.testing.sample import rng
from gradloom_llvm import kernel as kernel_module
from gradloom_llvm import layout as layout_module
from gradloom_llvm.kernel import Kernel

LLVM = compilers.get("llvm")
NUMPY = backends.get("numpy")


def check(f: Callable[..., Any], *args: Any, cancelling: bool = True, ulps: float = 8.0) -> None:
    """Compile a whole function as loops, and compare it with the kernels of single ops."""
    graph = gl.make_graph(f)(*args)
    assert takes(LLVM, graph), f"the compiler does not take\n{graph}"
    want, inputs = reference(graph, NUMPY, args)
    for one, other in zip(outputs_of(Kernel(graph).function(), inputs), want, strict=True):
        assert_close(one, other, ulps, cancelling)


def data(shape: Sequence[int], dtype: str = "float64") -> Any:
    """Return numbers of a dtype."""
    if dtype == "bool":
        return rng(2).normal(size=shape) > 0
    if dtype.startswith("int"):
        return rng(2).integers(-3, 4, size=shape).astype(dtype)
    return rng(2).normal(size=shape).astype(dtype)


# -- elementwise -----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("n", [*LENGTHS, 70_000])
def test_lengths(n: int, dtype: str) -> None:
    """Vectors, what is left of them, blocks and chunks: a chain with stores between."""

    def f(x: Any, y: Any) -> Any:
        a = np.exp(np.sin(x)) * y
        b = np.where(x > y, a, np.maximum(x, -y))
        return a, b, x > y, np.sqrt(np.abs(b)) * a

    check(f, data((n,), dtype), data((n,), dtype)[::-1].copy(), ulps=32, cancelling=False)


@pytest.mark.parametrize("n", [1, 7, 33, 2049])
def test_mixed_dtypes(n: int) -> None:
    """One loop over values of several widths."""

    def f(a: Any, b: Any, c: Any, d: Any) -> Any:
        x = np.where(a, b * 2, b) + c
        y = d.astype(np.float32) * a.astype(np.float32)
        return x, y, x.astype(bool), c.astype(np.float64) + d, (b > 0) & a

    arrays = [data((n,), dtype) for dtype in ("bool", "int64", "int32", "float64")]
    check(f, *arrays, cancelling=False)


@pytest.mark.parametrize("n", [5, 70])
def test_literal_zeros_of_both_signs(n: int) -> None:
    """Code with 0.0 that was written before does not serve -0.0, nor the other way round."""
    x = np.arange(n) - 2
    for zero in (0.0, -0.0, 0.0, -0.0):
        check(lambda x, zero=zero: (np.arctan2(x, zero), np.copysign(x, zero), x * zero), x)  # type: ignore[misc]


@pytest.mark.parametrize("exponent", [-3, -2, -1, -0.5, 0, 0.5, 1, 2, 3, 4, 5, 0.7, np.nan, np.inf])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_literal_powers(exponent: float, dtype: str) -> None:
    """Powers by a literal, of numbers and special values."""
    special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 5e-324, 1e-160, 1e160, -1e300, 1e-40, 1e30, -3.0]
    with np.errstate(over="ignore"):
        x = np.array([*special, *data((30,))], dtype)
    power = ops["power"]
    check(lambda t: power(t, exponent), x, cancelling=False)
    check(lambda t: power(t, exponent) * 1.0, x, cancelling=False)
    graph = gl.make_graph(lambda t: power(t, exponent) * 1.0)(x[:20])
    want, inputs = reference(graph, NUMPY, [x[:20]])
    assert_close(LLVM.compile(graph)(*inputs), want[0], 8)  # on the tape


# -- reductions ------------------------------------------------------------------------------

SHAPES = [(5,), (1,), (33,), (4, 9), (1, 17), (17, 1), (33, 34), (3, 4, 5), (2, 1, 19), (2, 3, 4, 5), (3, 1, 2, 18)]
SUBSETS = [
    (shape, axes)
    for shape in SHAPES
    for count in range(1, len(shape) + 1)
    for axes in itertools.combinations(range(len(shape)), count)
]


@pytest.mark.parametrize(("shape", "axes"), SUBSETS, ids=str)
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "int32", "bool"])
def test_reductions(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str) -> None:
    """Every reduction over every subset of axes, all in one kernel."""

    def f(x: Any) -> Any:
        found = [np.sum(x, axis=axes), np.prod(x, axis=axes, keepdims=True), np.any(x, axis=axes), np.all(x, axis=axes)]
        return *found, np.max(x, axis=axes, keepdims=True), np.min(x, axis=axes)

    x = data(shape, dtype)
    # Sums may cancel: the unit is that of the sum of magnitudes.
    graph = gl.make_graph(f)(x)
    scale = float(np.max(np.sum(np.abs(x.astype(float)), axis=axes)))
    want, inputs = reference(graph, NUMPY, [x])
    for one, other in zip(outputs_of(Kernel(graph).function(), inputs), want, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        eps = float(np.finfo(dtype).eps) if dtype.startswith("float") else 0.0
        np.testing.assert_allclose(one, other, rtol=64 * eps, atol=x.size * eps * scale)


@pytest.mark.parametrize(("shape", "axes"), SUBSETS[::2], ids=str)
def test_sums_and_broadcasts(shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    """What is reduced and spread again: softmax, logsumexp, normalised values; several axes in one kernel."""

    def f(x: Any) -> Any:
        top = np.max(x, axis=axes, keepdims=True)
        e = np.exp(x - top)
        total = np.sum(e, axis=axes, keepdims=True)
        centred = x - np.mean(x, axis=axes, keepdims=True)
        normal = centred / np.sqrt(np.mean(centred * centred, axis=axes, keepdims=True) + 0.1)
        sums = [np.sum(np.tanh(x) * x, axis=a) for a in range(x.ndim)]
        return e / total, np.log(total) + top, normal, *sums, np.sum(normal * e), np.max(e, axis=-1)

    check(f, data(shape))


@pytest.mark.parametrize("shape", [(4,), (1,), (3, 17), (1, 17), (50, 60)])
def test_reductions_of_what_was_broadcast(shape: tuple[int, ...]) -> None:
    """An axis that only a view has is reduced as any other."""

    def f(x: Any) -> Any:
        wide = np.broadcast_to(np.tanh(x), (5, 2, *x.shape))
        found = [g(wide, axis=axes) for g in (np.sum, np.max, np.prod) for axes in (0, 1, (0, 1), (0, 2))]
        return *found, np.max(np.broadcast_to(x, (3, *x.shape))) - x

    check(f, data(shape), ulps=64)


CHUNKED: dict[str, Callable[..., Any]] = {
    "sum": lambda x: x - np.sum(np.tanh(x), axis=0),
    "two sums": lambda x: np.sum(x * np.sum(np.tanh(x), axis=0), axis=0),
    "maximum of what was summed": lambda x: np.max(x * np.sum(np.tanh(x), axis=0), axis=0),
    "softmax of columns": lambda x: np.exp(x - np.max(x, axis=0)) / np.sum(np.exp(x - np.max(x, axis=0)), axis=0),
    "both axes": lambda x: (x - np.mean(x, axis=0)) / np.sqrt(np.var(x, axis=1, keepdims=True) + 0.1),
    "all": lambda x: x * np.sum(x * x) + np.max(x),
    "three in turn": lambda x: (lambda y: (lambda z: z - np.sum(z * y, axis=0))(y / np.sum(y * y)))(x - np.mean(x, 0)),
    "any and all": lambda x: np.where(np.any(x > 3, axis=0) | np.all(x < 1, axis=0), x, -x),
    "products": lambda x: (x @ (np.mean(x, axis=0) @ x.T @ x)) if len(x) < 50 else x @ np.mean(x, axis=0),
    "and of a part": lambda x: np.sum(np.sqrt(np.abs(x[:, :1])) + np.sum(x - x[:, :1], axis=0), axis=0),
}


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(33, 9), (9, 33), (40, 70), (300, 3), (1, 90), (90, 1)], ids=str)
@pytest.mark.parametrize("case", CHUNKED)
def test_many_chunks(case: str, shape: tuple[int, ...], threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is reduced over rows comes from all chunks, of which small arrays have many here."""
    for name, value in [("CHUNK_POINTS", 1), ("BLOCK_BYTES", 1), ("MAX_BLOCK", 16)]:
        monkeypatch.setattr(layout_module, name, value)
    monkeypatch.setattr(kernel_module, "THREAD_SECONDS", 0)
    x = data(shape)
    graph = gl.make_graph(lambda x: np.multiply(CHUNKED[case](x), 1.0))(x)
    want, inputs = reference(graph, NUMPY, [x])
    with threads_of_kernels(threads):
        for one, other in zip(Plan(graph, NUMPY, strict(Loops())).run(inputs), want, strict=True):
            assert_close(one, other, 8, cancelling=True)


class Loops(AbstractCompiler):
    """The LLVM compiler, but for its tape."""

    name = "loops"
    backend = "numpy"

    def forms(self, *args: Any) -> int:
        """Return the general form only."""
        return LLVM.forms(*args) & 1

    def compile(self, region: Graph) -> Any:
        """Return a kernel of loops."""
        return Kernel(region).function()


@pytest.mark.parametrize("n", [1, 3, 8, 17, 2049, 70_000])
@pytest.mark.parametrize("special", [np.nan, np.inf, -np.inf, -0.0])
def test_reductions_of_special_values(n: int, special: float) -> None:
    """One special value, first, last or alone, decides as in NumPy."""
    f = lambda x: (np.sum(x), np.max(x), np.min(x), np.prod(x), np.any(x), np.all(x))  # noqa: E731
    for place in (0, n - 1, slice(None)):
        x = np.full(n, 1.0)
        x[place] = special
        check(f, x)
        check(lambda x: (np.max(x, axis=0), np.sum(x, axis=0), np.min(x, axis=0)), np.stack([x, x, x]))


@pytest.mark.parametrize("shape", [(1,), (3,), (40,), (3, 4), (50, 70)])
def test_sums_of_negative_zeros_are_positive(shape: tuple[int, ...]) -> None:
    """As in NumPy, a sum starts at zero."""

    def f(x: Any) -> Any:
        return *[np.sum(x, axis=k) for k in range(x.ndim)], np.sum(x), x @ np.ones(shape[-1])

    x = np.full(shape, -0.0)
    graph = gl.make_graph(f)(x)
    inputs = [x, np.ones(shape[-1])]
    for kernel in (Kernel(graph).function(), LLVM.compile(graph)):
        for out in outputs_of(kernel, inputs):
            assert not np.any(np.signbit(out))


@pytest.mark.parametrize("shape", [(3, 4), (1, 7), (7, 1), (33, 17), (2000, 5), (5, 2000)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_products_with_vectors(shape: tuple[int, int], dtype: str) -> None:
    """Both ways, with what comes before and after, and their gradients."""
    a, x, y = data(shape, dtype), data(shape[1:], dtype), data(shape[:1], dtype)

    def f(a: Any, x: Any, y: Any) -> Any:
        z = np.tanh(a @ x)
        return z, y @ a, np.sum(z * y), (z * y) @ np.cos(a), z @ y

    check(f, a, x, y, ulps=64)
    loss = gl.value_and_grad(lambda a, x, y: np.sum(np.tanh(a @ x) * y) + np.sum(np.sin(y @ a) * x), (0, 1, 2))
    graph = gl.make_graph(loss)(a, x, y)
    want, inputs = reference(graph, NUMPY, [a, x, y])
    for one, other in zip(Plan(graph, NUMPY, strict(LLVM)).run(inputs), want, strict=True):
        assert_close(one, other, 64, cancelling=True)


def test_sums_are_exact_enough() -> None:
    """Sums of many numbers of one sign are off by few units: they go by a tree."""
    for dtype, n in [("float64", 1_000_000), ("float32", 1_000_000), ("float64", 1000)]:
        x = rng(4).uniform(1, 2, n).astype(dtype)
        got = LLVM.compile(gl.make_graph(lambda t: np.sum(t * 1.0))(x))(x)
        exact = np.sum(x, dtype=np.longdouble)
        assert abs(got - exact) <= 16 * np.finfo(dtype).eps * exact
