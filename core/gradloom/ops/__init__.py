"""All ops, one module per family; importing this package registers them."""

from gradloom.ops import (
    arithmetic,
    cast,
    comparison,
    complex,
    contraction,
    cumulative,
    custom,
    fourier,
    indexing,
    linalg,
    reduction,
    selection,
    shape,
    sorting,
    special,
    transcendental,
)

__all__ = [
    "arithmetic",
    "cast",
    "comparison",
    "complex",
    "contraction",
    "cumulative",
    "custom",
    "fourier",
    "indexing",
    "linalg",
    "reduction",
    "selection",
    "shape",
    "sorting",
    "special",
    "transcendental",
]
