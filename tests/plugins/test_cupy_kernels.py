"""The CuPy kernels, on a stand-in for CuPy that needs no GPU; tests/gpu runs them on a device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy_as_cupy
import pytest

from gradloom.testing.backends import BackendConformance


@pytest.fixture(autouse=True, scope="module")
def _stand_in() -> Iterator[None]:
    with numpy_as_cupy.installed():
        yield


class TestCupyKernels(BackendConformance):
    backend = "cupy"
    rtol = 1e-12
