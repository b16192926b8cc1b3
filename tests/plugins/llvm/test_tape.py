"""The tape: numbers of float32 have their own bits, beside others of float64; and loops too long for it."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.compiler import compilers
from gradloom.graph import Graph
from gradloom.testing.sample import rng
from gradloom_llvm.kernel import Kernel
from gradloom_llvm.support import TAPE
from gradloom_llvm.tape_kernel import TapeKernel

LLVM = compilers.get("llvm")
TINY = float(np.finfo(np.float32).tiny)
SPECIAL = np.array(
    [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -3.0, 1e-45, TINY, -TINY / 3, 3e38, -3e38, 0.1], np.float32
)
#: Functions of two arrays of float32 whose results are rounded exactly, by NumPy and on the tape.
EXACT: dict[str, Callable[[Any, Any], Any]] = {
    "sum": lambda x, y: x + y,
    "product": lambda x, y: x * y,
    "quotient": lambda x, y: x / y,
    "root": lambda x, y: np.sqrt(x) - y,
    "literals": lambda x, y: (x * 0.1 + 0.7) / 3.0,
    "powers": lambda x, y: x**2 - 1.0 / y,
    "choice": lambda x, y: np.where(x > y, np.maximum(x, 0.3), -y),
    "wider": lambda x, y: x.astype(np.float64) * y,
    "narrower": lambda x, y: (x.astype(np.float64) * 1.1).astype(np.float32) * y,
    "of truth": lambda x, y: (x > y) * y + np.isnan(x),
    "chain": lambda x, y: ((x + y) * x - y) * (x - 1e30),
}


def kernel(graph: Graph) -> Any:
    """Return what computes a region on the tape."""
    for k, (op, args, attrs) in enumerate(graph.nodes):
        assert not args or LLVM.forms(op, tuple([graph.specs[j] for j in args]), attrs, graph.specs[k]) & TAPE
    return TapeKernel(graph).function()


@pytest.mark.parametrize("name", EXACT)
@np.errstate(all="ignore")
def test_single_precision_has_the_bits_of_numpy(name: str) -> None:
    f = EXACT[name]
    x, y = [a.ravel() for a in np.meshgrid(SPECIAL, SPECIAL)]
    for k in range(0, len(x), 30):
        one, other = x[k : k + 30], y[k : k + 30]
        got, want = kernel(gl.make_graph(f)(one, other))(one, other), f(one, other)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
        kept = ~np.isnan(want)
        np.testing.assert_array_equal(np.signbit(got[kept]), np.signbit(want[kept]))


@np.errstate(all="ignore")
def test_sums_and_products_of_single_precision() -> None:
    """What adds up several terms is rounded once: as near as a number of float32 can be."""
    a, b = rng(1).normal(size=(4, 5)).astype(np.float32), rng(2).normal(size=(5, 3)).astype(np.float32)

    def f(a: Any, b: Any) -> Any:
        c = a.reshape(20)[:4] * 1.0
        c[1:] += b[:3, 0]
        return a @ b, np.sum(a, axis=1), np.prod(b, axis=0), np.max(a, axis=0), np.exp(a), np.tanh(b) ** 1.3, c

    got, want = kernel(gl.make_graph(f)(a, b))(a, b), f(*[x.astype(np.float64) for x in (a, b)])
    for one, other in zip(got, want, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, other, rtol=3e-7)


@pytest.mark.parametrize("size", [3, 40])
def test_loops_of_many_steps(size: int) -> None:
    """On the tape, and beyond it a kernel of more phases than a word has bits."""
    x = rng(3).normal(size=size).astype(np.float32)

    def f(x: Any) -> Any:
        for _ in range(70):
            x = x - 0.1 * np.mean(x) * np.sin(x)
        return x

    graph = gl.make_graph(f)(x)
    run = TapeKernel(graph).function() if size == 3 else Kernel(graph).function()
    np.testing.assert_allclose(run(x), f(x), rtol=1e-5, atol=1e-6)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(gl.jit(f)(x), f(x), rtol=1e-5, atol=1e-6)
