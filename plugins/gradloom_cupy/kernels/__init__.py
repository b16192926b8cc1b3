"""CuPy kernels, one module per op family; each has a table ``KERNELS``.

Importing this package imports CuPy, so only the backend does, when it first needs a kernel.
"""

from __future__ import annotations

from gradloom.backend import Kernel, Specialised
from gradloom_cupy.kernels import (
    arithmetic,
    cast,
    comparison,
    complex,
    contraction,
    convolution,
    cumulative,
    custom,
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
    custom,
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

KERNELS: dict[str, Kernel | Specialised] = {
    name: kernel for family in FAMILIES for name, kernel in family.KERNELS.items()
}
