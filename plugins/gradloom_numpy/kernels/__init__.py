"""NumPy kernels, one module per op family; each has a table ``KERNELS``."""

from __future__ import annotations

from gradloom.backend import Kernel, Specialised
from gradloom_numpy.kernels import elementwise, shape

KERNELS: dict[str, Kernel | Specialised] = {
    **elementwise.KERNELS,
    **shape.KERNELS,
}
