"""Samples of the complex-number ops."""

from __future__ import annotations

from gradloom.testing.sample import Sample

SAMPLES: list[Sample] = []
