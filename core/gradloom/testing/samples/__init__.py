"""Sample tables, one module per op family; each has a list ``SAMPLES``."""

from __future__ import annotations

from gradloom.testing.sample import Sample
from gradloom.testing.samples import (
    arithmetic,
    cast,
    comparison,
    complex,
    contraction,
    convolution,
    cumulative,
    decompositions,
    fourier,
    indexing,
    linalg,
    reduction,
    selection,
    shape,
    sorting,
    special,
    taking,
    transcendental,
)

FAMILIES = (
    arithmetic,
    cast,
    comparison,
    complex,
    contraction,
    convolution,
    cumulative,
    decompositions,
    fourier,
    indexing,
    linalg,
    reduction,
    selection,
    shape,
    sorting,
    special,
    taking,
    transcendental,
)

SAMPLES: list[Sample] = [sample for family in FAMILIES for sample in family.SAMPLES]
