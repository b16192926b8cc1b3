"""Functions whose doings depend on sizes give right numbers at each size, whatever sizes came before."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom import ahead

rng = np.random.default_rng(11)
POOL = rng.normal(size=(20_000, 3)) / 2
WEIGHTS = rng.normal(size=(3, 4)) / 2
STATE = {"scale": 1.0, "offset": np.array([0.5, -0.25, 1.5])}


def branches(x: Any, w: Any) -> Any:
    """Take another branch from six rows on, and for odd numbers of rows."""
    n = x.shape[0]
    h = np.sin(x @ w) if n > 5 else np.cos(x @ w)
    return np.sum(h * h if n % 2 else h + 1.0)


def constants(x: Any, w: Any) -> Any:
    """Compute with what follows from the number of rows."""
    n = len(x)
    spread = math.sqrt(n) + math.lgamma(n + 1) / n + {3: 7.0, 6: -2.0}.get(n, 0.5) + (n in {4, 8}) + int(str(n)[-1])
    return np.sum(np.exp(x @ w / n)) * spread + np.sum(np.arange(n) * x[:, 0]) + n**0.5 * np.sum(w)


def means(x: Any, w: Any) -> Any:
    """Take means over rows, over columns and over all."""
    centred = x - np.mean(x, axis=0)
    return np.mean((centred @ w) ** 2) + np.mean(np.tanh(x), axis=1) @ np.mean(x, axis=1) + x.size / len(x) * np.sum(w)


def reshaped(x: Any, w: Any) -> Any:
    """Reshape by the number of rows, where that is even; look at halves otherwise."""
    n = x.shape[0]
    if n % 2 == 0:
        pairs = x.reshape(n // 2, 2, 3)
        return np.sum(np.prod(pairs, axis=1) @ w)
    half = n // 2
    return np.sum((x[:half] * x[half + 1 :]) @ w) + np.sum(x[half])


def loops(x: Any, w: Any) -> Any:
    """Loop over rows, a few at most, and stack what comes out."""
    h, rows = x[0] * 0.0, []
    for i in range(min(len(x), 9)):
        h = np.tanh(h + x[i] * (i + 1))
        rows.append(h if i % 3 else h * h)
    return np.sum(np.stack(rows) @ w) + np.sum(np.concatenate([row[:2] for row in rows]))


def squares(x: Any, w: Any) -> Any:
    """Treat a square array of its own, and one as tall as the weights are wide."""
    n, m = x.shape
    if n == m:
        return np.sum(x @ x.T @ w)
    return np.sum(x.T @ x @ w) if n == w.shape[1] else np.sum(x * x) + np.sum(w**3)


def windows(x: Any, w: Any) -> Any:
    """Look at windows whose width follows from the number of rows, from the end and with steps."""
    n = x.shape[0]
    k = max(1, n // 3)
    return np.sum(x[k:] * x[:-k]) + np.sum(x[::2] @ w) + np.sum(x[-k:] ** 2) * w.size / k


def closed_over(x: Any, w: Any) -> Any:
    """Read what may change between calls."""
    return np.sum(((x + STATE["offset"]) @ w) ** 2) * STATE["scale"]


FUNCTIONS = [branches, constants, means, reshaped, loops, squares, windows, closed_over]
ORDERS = {
    "up": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
    "down": [12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1],
    "mixed": [7, 8, 4, 3, 9, 5, 40, 41, 6, 39, 3, 4, 130, 131],
    "wide": [50, 51, 4000, 4001, 64, 65, 12_000, 13_001, 3, 52],
}


def complex_step(f: Callable[..., Any], x: Any, w: Any) -> Any:
    """Return the derivative of a function along one direction in both arguments, and the direction."""
    dx, dw = rng.normal(size=x.shape), rng.normal(size=w.shape)
    return f(x + 1e-30j * dx, w + 1e-30j * dw).imag / 1e-30, dx, dw


@pytest.fixture(autouse=True)
def state() -> Iterator[None]:
    """Leave what functions close over as it was."""
    before = {"scale": STATE["scale"], "offset": STATE["offset"].copy()}  # type: ignore[attr-defined]
    yield
    STATE.update(before)


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "after a while"])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("f", FUNCTIONS)
def test_as_numpy(f: Callable[..., Any], order: str, waits: bool) -> None:
    """Values are NumPy's own, and gradients those of complex steps, at the first calls with each size and later."""
    compiled = gl.jit(gl.value_and_grad(f, (0, 1)))
    for k, n in enumerate(ORDERS[order]):
        x = POOL[k : k + n].copy()
        expected = f(x, WEIGHTS)
        along, dx, dw = complex_step(f, x, WEIGHTS)
        for _ in range(3):
            value, (gx, gw) = compiled(x, WEIGHTS)
            np.testing.assert_allclose(value, expected, rtol=1e-10, atol=1e-10 * n)
            np.testing.assert_allclose(np.sum(gx * dx) + np.sum(gw * dw), along, rtol=1e-9, atol=1e-9 * n)
        if waits:
            ahead.wait()


def test_closures_that_change() -> None:
    """A new size sees what a function closes over as it then is; arrays are read at each call."""
    compiled = gl.jit(gl.value_and_grad(closed_over, (0, 1)))
    for k, n in enumerate([4, 5, 6, 7, 8, 9]):
        x = POOL[:n].copy()
        STATE["scale"] = 1.0 + k
        for _ in range(3):
            STATE["offset"] += 0.5
            value, _ = compiled(x, WEIGHTS)
            np.testing.assert_allclose(value, closed_over(x, WEIGHTS), rtol=1e-12)
    STATE["offset"] = np.array([[1.0, 2.0, 3.0]])  # of another shape
    for n in (10, 11, 12):
        x = POOL[:n].copy()
        np.testing.assert_allclose(compiled(x, WEIGHTS)[0], closed_over(x, WEIGHTS), rtol=1e-12)


def test_sizes_in_turns() -> None:
    """Sizes that come in turns keep their results apart, whoever computed last."""
    compiled = gl.jit(gl.value_and_grad(loops, (0, 1)))
    sizes = [30, 31, 32, 33, 40]
    inputs = {n: POOL[n : 2 * n].copy() for n in sizes}
    held = [(n, compiled(inputs[n], WEIGHTS)) for _ in range(6) for n in sizes]
    for n, (value, (gx, gw)) in held:
        again, (hx, hw) = compiled(inputs[n], WEIGHTS)
        assert value == again
        assert np.array_equal(gx, hx)
        assert np.array_equal(gw, hw)
        np.testing.assert_allclose(value, loops(inputs[n], WEIGHTS), rtol=1e-12)
