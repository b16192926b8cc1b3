"""Samples of the reduction ops."""

from __future__ import annotations

from gradloom.testing.sample import Sample

SAMPLES: list[Sample] = []
