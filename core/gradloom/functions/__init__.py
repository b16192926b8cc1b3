"""Traced counterparts of NumPy functions, one module per family; importing registers them."""

from gradloom.functions import (
    contraction,
    creation,
    elementwise,
    indexing,
    linalg,
    reduction,
    shape,
    sorting,
    statistics,
)

__all__ = [
    "contraction",
    "creation",
    "elementwise",
    "indexing",
    "linalg",
    "reduction",
    "shape",
    "sorting",
    "statistics",
]
