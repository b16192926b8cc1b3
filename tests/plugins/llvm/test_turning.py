"""Arrays that lie across the loops: turned in registers, square by square; beside NumPy's, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.testing.compilers import threads_of_kernels
from gradloom.testing.sample import rng
from gradloom_llvm import kernel as kernel_module
from gradloom_llvm import layout as layout_module
from gradloom_llvm.kernel import Kernel
from gradloom_llvm.loops import TURNED, Loops

#: Below, at and beside the length from which on arrays are turned, and of several blocks.
SIZES = [(TURNED - 1, 40), (TURNED, TURNED), (TURNED + 1, 33), (75, 300), (300, 75)]


def turned(x: Any, *axes: int) -> Any:
    """Return an array that lies as the transpose, or another order of axes, of one that is C-contiguous."""
    return np.ascontiguousarray(np.transpose(x, axes or None))


def values(*shape: int, dtype: str = "d", seed: int = 0) -> Any:
    return (9 * rng(seed).normal(size=shape)).astype(dtype)


def run(f: Callable[..., Any], *args: Any) -> tuple[Any, ...]:
    """Return what one kernel gives, the same on one thread and on three."""
    kernel = Kernel(gl.make_graph(f)(*args)).function()
    with threads_of_kernels(1):
        got = as_tuple(kernel(*args))
    with threads_of_kernels(3):
        again = as_tuple(kernel(*args))
    for a, b in zip(got, again, strict=True):
        np.testing.assert_array_equal(a, b)
    return got


def as_tuple(x: Any) -> tuple[Any, ...]:
    return x if isinstance(x, tuple) else (x,)


@pytest.fixture(params=["few", "many"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut the rows into few chunks, or into as many as there can be."""
    monkeypatch.setattr(kernel_module, "THREAD_SECONDS", 0)
    if request.param == "many":
        for name in ("CHUNK_POINTS", "BLOCK_BYTES"):
            monkeypatch.setattr(layout_module, name, 1)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("dtype", ["f8", "f4", "i8", "?"])
@pytest.mark.usefixtures("chunks")
def test_every_way_to_lie(dtype: str, size: tuple[int, int]) -> None:
    a, b = values(*size, dtype=dtype), values(*size, dtype=dtype, seed=1)
    wide = values(3, *size, dtype=dtype, seed=2)
    three = (lambda x, y: np.where(x, y, ~x)) if dtype == "?" else (lambda x, y: x * y + x)
    for f, args in [
        (lambda a, b: three(a, b.T), (a, turned(b))),
        (three, (a, np.asfortranarray(b))),
        (lambda a, b: three(b.T, a.T), (a, turned(b).T)),
        (three, (a, np.asfortranarray(b)[::-1])),
        (three, (a, np.asfortranarray(b)[:, ::-1])),
        (lambda a, b: three(a, b.T), (wide, turned(b))),
        (lambda a, b: three(a, np.transpose(b, (0, 2, 1))), (wide, turned(wide, 0, 2, 1))),
        (lambda a, b: three(a, np.transpose(b, (1, 2, 0))), (wide, turned(wide, 2, 0, 1))),
        (lambda a, b: (three(a, b.T), three(b, b)), (a, turned(b))),
    ]:
        for got, wanted in zip(run(f, *args), as_tuple(f(*args)), strict=True):
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.usefixtures("chunks")
def test_reductions(size: tuple[int, int]) -> None:
    a, b = values(*size), turned(values(*size, seed=1))
    (columns, rows, largest) = run(lambda a, b: (np.sum(a * b.T, 0), np.sum(b.T * b.T, 1), np.max(a - b.T)), a, b)
    np.testing.assert_allclose(columns, np.sum(a * b.T, 0), rtol=0, atol=1e-11 * size[0])
    np.testing.assert_allclose(rows, np.sum(b.T * b.T, 1), rtol=1e-13)
    assert largest == np.max(a - b.T)


@pytest.mark.parametrize("vector_bytes", [16, 32])
def test_narrow_vectors(vector_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares of two and of four."""
    monkeypatch.setattr(kernel_module, "host_vector_bytes", lambda: vector_bytes)
    for dtype in ("f8", "f4"):
        a, b = values(75, 41, dtype=dtype), turned(values(75, 41, dtype=dtype, seed=1))
        np.testing.assert_array_equal(run(lambda a, b: a * b.T + a, a, b)[0], a * b.T + a)


def test_it_is_stored_in_order_and_read_once_more() -> None:
    """The result is written along its rows; of two readers of an array that is turned both read one copy."""
    graph = gl.make_graph(lambda a, b: ((a + b).T + 1.0, (a * b).T))(values(40, 50), values(40, 50))
    loops = Loops(graph)
    assert len(loops.scheme.turns) == 2
    assert loops.phases[1].nests[-1].labels == loops.values[loops.outputs[0]].labels
