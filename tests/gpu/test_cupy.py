"""The CuPy backend on a device satisfies the conformance suite, and stays on the device."""

from __future__ import annotations

from typing import Any

import numpy as np

import gradloom as gl
from gradloom.backend import backends
from gradloom.testing.backends import BackendConformance


class TestCupy(BackendConformance):
    backend = "cupy"
    #: CUDA's own mathematical functions, sums in another order.
    rtol = 1e-12


def loss(params: Any, x: Any, y: Any) -> Any:
    """Return the binary cross-entropy of a small network, in plain NumPy."""
    w, b, v = params
    z = np.tanh(x @ w + b) @ v
    return np.mean(np.logaddexp(0.0, z) - y * z)


def sample() -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(0)
    params = rng.normal(size=(5, 4)), rng.normal(size=4), rng.normal(size=4)
    return params, rng.normal(size=(7, 5)), (rng.uniform(size=7) > 0.5).astype(float)


def on_device(tree: Any) -> Any:
    cupy = backends.get("cupy")
    return tuple([on_device(t) for t in tree]) if isinstance(tree, tuple) else cupy.from_host(tree)


def test_gradient_of_a_network() -> None:
    """CuPy arrays in, CuPy arrays out, NumPy's values."""
    cupy = backends.get("cupy")
    params, x, y = sample()
    expected = gl.value_and_grad(loss)(params, x, y)
    for transform in (gl.value_and_grad(loss), gl.jit(gl.value_and_grad(loss))):
        value, gradient = transform(*on_device((params, x, y)))
        assert all(cupy.recognises(type(array)) for array in (value, *gradient))
        np.testing.assert_allclose(cupy.to_host(value), expected[0], rtol=1e-12)
        for got, want in zip(gradient, expected[1], strict=True):
            np.testing.assert_allclose(cupy.to_host(got), want, rtol=1e-11, atol=1e-14)


def test_float32_stays_float32() -> None:
    cupy = backends.get("cupy")
    gradient = gl.grad(lambda t: np.sum(np.sin(t) * 2.0 + t))(cupy.from_host(np.ones(3, np.float32)))
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(cupy.to_host(gradient), 2 * np.cos(np.ones(3)) + 1, rtol=1e-6)
