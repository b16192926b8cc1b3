"""Large products, which the NumPy backend computes in pieces."""

from __future__ import annotations

import numpy as np
import pytest

from gradloom.blas import one_thread_each
from gradloom.sharing import kernel_threads
from gradloom_numpy.kernels import contraction

RNG = np.random.default_rng(5)
SHAPES = [
    ((300, 70), (70, 200)),
    ((40, 70), (70, 900)),
    ((6, 200, 40), (6, 40, 90)),
    ((6, 200, 40), (40, 90)),
    ((1, 200, 40), (7, 40, 90)),
    ((200, 40), (7, 40, 90)),
    ((2, 3, 90, 40), (3, 40, 90)),
]


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contraction, "SHARED", 1000)
    monkeypatch.setattr(contraction, "PIECE", 300_000)
    monkeypatch.setattr("gradloom.sharing.cores", lambda: 4)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.complex128])
@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_pieces_make_the_product(left: tuple[int, ...], right: tuple[int, ...], dtype: type) -> None:
    a, b = RNG.normal(size=left).astype(dtype), RNG.normal(size=right).astype(dtype)
    with one_thread_each():
        found = contraction.matmul(a, b)
    expected = a @ b
    assert found.dtype == expected.dtype
    scale = np.abs(a) @ np.abs(b)
    assert np.all(np.abs(found - expected) <= 100 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize(("left", "right"), SHAPES)
def test_any_number_of_threads_gives_the_same_bits(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    a, b = RNG.normal(size=left), RNG.normal(size=right)
    results = []
    for threads in (1, 2, 4):
        token = kernel_threads.set(threads)
        try:
            with one_thread_each():
                results.append(contraction.matmul(a, b))
        finally:
            kernel_threads.reset(token)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("order", ["C", "F", "strided", "transposed"])
def test_layouts(order: str) -> None:
    a, b = RNG.normal(size=(300, 70)), RNG.normal(size=(70, 200))
    if order == "F":
        a, b = np.asfortranarray(a), np.asfortranarray(b)
    elif order == "strided":
        a, b = RNG.normal(size=(600, 70))[::2], RNG.normal(size=(70, 400))[:, ::2]
    elif order == "transposed":
        a, b = RNG.normal(size=(70, 300)).T, RNG.normal(size=(200, 70)).T
    with one_thread_each():
        found = contraction.matmul(a, b)
    np.testing.assert_allclose(found, np.ascontiguousarray(a) @ np.ascontiguousarray(b), rtol=1e-12, atol=1e-12)
