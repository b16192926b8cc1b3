"""Ops of shape against NumPy and differences."""

from __future__ import annotations

import pytest

from gradloom.testing.checks import OpChecks
from gradloom.testing.samples.shape import SAMPLES


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
class TestOps(OpChecks):
    pass
