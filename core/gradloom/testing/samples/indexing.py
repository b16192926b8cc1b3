"""Samples of the indexing ops."""

from __future__ import annotations

from gradloom.testing.sample import Sample

SAMPLES: list[Sample] = []
