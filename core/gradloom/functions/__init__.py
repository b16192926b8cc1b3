"""Traced counterparts of NumPy functions, one module per family; importing registers them."""

from gradloom.functions import (
    calculus,
    contraction,
    creation,
    diagonal,
    elementwise,
    indexing,
    inspection,
    joining,
    linalg,
    norm,
    reduction,
    shape,
    sorting,
    statistics,
)

__all__ = [
    "calculus",
    "contraction",
    "creation",
    "diagonal",
    "elementwise",
    "indexing",
    "inspection",
    "joining",
    "linalg",
    "norm",
    "reduction",
    "shape",
    "sorting",
    "statistics",
]
