"""Products: kernels that multiply matrices by native code, where that is faster than BLAS.

An element of the result has the same bits however the product is cut, so pieces are cut by the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np

from gradloom.backend import Kernel
from gradloom.memory import LEAST, empty
from gradloom.sharing import allowed
from gradloom.spec import Spec
from gradloom_llvm.product_code import multiply, multiply_together
from gradloom_llvm.product_tiles import tiles
from gradloom_llvm.team import team

#: Multiply-adds of float64 from which on several threads share a product: what takes one about 100 us.
SHARED: Final = 2_000_000
#: Bytes of the left matrix up to which this is faster than BLAS, which cuts it to fit the cache.
LARGEST: Final = 2**24
_BYTE: Final = np.dtype(np.uint8)


def product_kernel(name: str, specs: tuple[Spec, ...], plain: Kernel) -> Kernel:
    """Return the kernel of an op that multiplies matrices.

    Parameters
    ----------
    name : str
        Of the op.
    specs : tuple of Spec
        Of the operands.
    plain : callable
        The backend's kernel: for operands of other kinds, and where exact zeros must annihilate a NaN.
    """
    product = _product(*specs)
    if product is None:
        return plain
    annihilates = name == "annihilating_matmul"

    def kernel(a: Any, b: Any, **attrs: Any) -> Any:
        try:
            out, undefined = product(a, b)
        except TypeError:  # unaligned, of the other byte order, or no arrays
            return plain(a, b, **attrs)
        return plain(a, b, **attrs) if annihilates and undefined else out

    kernel.__name__ = name
    return kernel


@lru_cache(maxsize=1024)
def _product(a: Spec, b: Spec) -> Callable[[Any, Any], tuple[Any, bool]] | None:
    """Return what makes the product of two matrices, and tells whether it holds a NaN; None to leave it to BLAS."""
    if a.ndim != 2 or b.ndim != 2 or a.dtype != b.dtype or not a.size or not b.size or a.nbytes > LARGEST:
        return None
    tiling = tiles(a.dtype)
    if tiling is None:
        return None
    native, shape, dtype = multiply(a.dtype, tiling), (a.shape[0], b.shape[1]), a.dtype
    column = shape[1] == 1 < shape[0]
    run = _by_transposes(native) if column else native
    room = (tiling.workspace(1 if column else shape[0], a.shape[1]),)

    def whole(left: Any, right: Any) -> tuple[Any, bool]:
        out = np.empty(shape, dtype)
        return out, run(left, right, out, np.empty(room, _BYTE))

    def large(left: Any, right: Any) -> tuple[Any, bool]:
        out = empty(shape, dtype)
        workers = allowed() if shares else 1
        workspace = empty((workers * room[0],), _BYTE)
        if workers < 2:
            return out, run(left, right, out, workspace)
        words = np.array([workers, room[0]], np.int64)
        return out, together(left, right, out, workspace, team.mailbox(workers), words)

    together = multiply_together(a.dtype, tiling)
    shares = not column and a.size * shape[1] * dtype.itemsize >= 8 * SHARED
    return large if max(room[0], shape[0] * shape[1] * dtype.itemsize) >= LEAST else whole


def _by_transposes(native: Callable[..., bool]) -> Callable[..., bool]:
    """Return what makes a product of one column as one row, along which vectors run."""

    def multiply_column(a: Any, b: Any, out: Any, workspace: Any) -> bool:
        return native(b.T, a.T, out.T, workspace)

    return multiply_column
