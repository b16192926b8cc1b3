"""Decompositions against NumPy, definitions and differences."""

from __future__ import annotations

import pytest

from gradloom.testing.checks import OpChecks
from gradloom.testing.samples.decompositions import SAMPLES


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestOps(OpChecks):
    pass
