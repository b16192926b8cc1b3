"""The NumPy backend satisfies the conformance suite."""

from __future__ import annotations

import numpy as np

from gradloom.testing.backends import BackendConformance
from gradloom_numpy.backend import NumpyBackend


class TestNumpy(BackendConformance):
    backend = "numpy"


def test_a_copy_of_a_scalar_is_the_scalar() -> None:
    """It cannot change; of an array, also one without axes, nobody else holds the memory."""
    scalar, array = np.float64(1.5), np.array(1.5)
    backend = NumpyBackend()
    assert backend.copy(scalar) is scalar
    assert not np.shares_memory(backend.copy(array), array)
