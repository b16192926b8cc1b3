"""The CuPy kernels, on a stand-in for CuPy that needs no GPU; tests/gpu runs them on a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy_as_cupy
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.testing.backends import BackendConformance


@pytest.fixture(autouse=True, scope="module")
def _stand_in() -> Iterator[None]:
    with numpy_as_cupy.installed():
        yield


def test_branches_on_two_devices() -> None:
    """A device refuses the arrays of the other, and gets none."""

    def loss(x: Any, *names: str) -> Any:
        with gl.device(names[0]):
            a = np.tanh(x) * 2.0
        with gl.device(names[1]):
            b = np.exp(x) + 2.0 * np.ones_like(x)
        return np.sum(a * b)

    cupy = backends.get("cupy")
    x = np.array([0.3, -0.2, 0.5])
    expected = gl.grad(lambda x: loss(x, "numpy", "numpy"))(x)
    for names in (("cupy:0", "cupy:1"), ("cupy:1", "numpy"), ("cupy", "cupy")):
        f = gl.jit(gl.grad(lambda x, names=names: loss(x, *names)))
        np.testing.assert_allclose(f(x), expected, rtol=1e-14)
        np.testing.assert_allclose(cupy.to_host(f(cupy.from_host(x))), expected, rtol=1e-14)


class TestCupyKernels(BackendConformance):
    backend = "cupy"
    rtol = 1e-12
