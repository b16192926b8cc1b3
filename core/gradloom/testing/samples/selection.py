"""Samples of the selection ops."""

from __future__ import annotations

from gradloom.testing.sample import Sample

SAMPLES: list[Sample] = []
