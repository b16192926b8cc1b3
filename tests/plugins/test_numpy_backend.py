"""The NumPy backend satisfies the conformance suite."""

from __future__ import annotations

from gradloom.testing.backends import BackendConformance


class TestNumpy(BackendConformance):
    backend = "numpy"
