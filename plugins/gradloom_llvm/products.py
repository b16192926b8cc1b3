"""Products: kernels that multiply matrices by native code, where that is faster than BLAS.

An element of the result has the same bits however the product is cut, so pieces are cut by the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from itertools import count
from typing import Any, Final, final

import numpy as np

from gradloom.backend import Kernel
from gradloom.blas import one_thread_each
from gradloom.memory import LEAST, empty
from gradloom.sharing import RANGES, allowed, share
from gradloom.spec import Spec, broadcast_shapes
from gradloom_llvm.product_code import begin_multiply, multiply, multiply_together
from gradloom_llvm.product_tiles import Tiles, tiles
from gradloom_llvm.team import CODE, team

#: Multiply-adds of float64 from which on several threads share a product: what takes one about 100 us.
SHARED: Final = 2_000_000
#: Products of fewer columns take as long as those of so many.
NARROW: Final = 32
#: Multiply-adds of each product of a stack from which on this is faster than BLAS.
SMALL: Final = 4096
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

    def multiplied(a: Any, b: Any, out: Any, attrs: dict[str, Any]) -> Any:
        """Return the product: in ``out``, or as the backend's kernel returns it."""
        try:
            if not (product.into(a, b, out) and annihilates):
                return out
        except TypeError:  # unaligned, of the other byte order, or no arrays
            pass
        with one_thread_each():  # whose threads no plan limits for products that need no BLAS
            return plain(a, b, **attrs)

    def kernel(a: Any, b: Any, **attrs: Any) -> Any:
        return multiplied(a, b, product.empty(product.shape, product.dtype), attrs)

    def into(a: Any, b: Any, out: Any, **attrs: Any) -> None:
        found = multiplied(a, b, out, attrs)
        if found is not out:
            out[...] = found

    made: Any = kernel
    made.__name__, made.into = name, into
    return made  # type: ignore[no-any-return]


def begin_product(specs: tuple[Spec, ...]) -> None:
    """Begin to compile what `product_kernel` needs, which takes long for the first product of a dtype."""
    tiling = _tiling(*specs)
    if tiling is not None:
        begin_multiply(specs[0].dtype, tiling)


def _tiling(a: Spec, b: Spec) -> Tiles | None:
    """Return how products of operands are tiled, None to leave them to BLAS."""
    if min(a.ndim, b.ndim) < 2 or a.dtype != b.dtype or not a.size or not b.size:
        return None
    (m, k), n = a.shape[-2:], b.shape[-1]
    if m * k * a.dtype.itemsize > LARGEST or (max(a.ndim, b.ndim) > 2 and m * k * n < SMALL):
        return None
    return tiles(a.dtype)


def _is_shared(shape: tuple[int, ...], summed: int, itemsize: int) -> bool:
    """Return whether products of some shape, sums of so many products of numbers each, are worth several threads."""
    *stack, m, n = shape
    return (n > 1 or m == 1) and math.prod(stack) * m * summed * max(n, NARROW) * itemsize >= 8 * SHARED


@final
class _Product:
    """Makes products of one kind; ``into(a, b, out)`` tells whether they hold a NaN, ``empty`` makes the array."""

    __slots__ = ("dtype", "empty", "into", "shape")

    def __init__(
        self, into: Callable[[Any, Any, Any], bool], shape: tuple[int, ...], dtype: Any, empty: Callable[..., Any]
    ) -> None:
        self.into, self.shape, self.dtype = into, shape, dtype
        self.empty = empty


@lru_cache(maxsize=1024)
def _product(a: Spec, b: Spec) -> _Product | None:
    """Return what makes products of matrices; None to leave them to BLAS."""
    tiling = _tiling(a, b)
    if tiling is None:
        return None
    (m, k), n, dtype = a.shape[-2:], b.shape[-1], a.dtype
    shape = (*broadcast_shapes(a.shape[:-2], b.shape[:-2]), m, n)
    native, together = multiply(dtype, tiling), multiply_together(dtype, tiling)
    column = n == 1 < m
    run = _by_transposes(native) if column else native
    if a.ndim != b.ndim:
        run, together = _of_one_rank(run, len(shape)), _of_one_rank(together, len(shape))
    room = (tiling.workspace(1 if column else m, k),)
    size, shares = math.prod(shape) * dtype.itemsize, _is_shared(shape, k, dtype.itemsize)
    runs = count()

    def whole(left: Any, right: Any, out: Any) -> bool:
        return run(left, right, out, np.empty(room, _BYTE))

    def large(left: Any, right: Any, out: Any) -> bool:
        workers = allowed() if shares else 1
        workspace = empty((workers * room[0],), _BYTE)
        if workers < 2:
            return run(left, right, out, workspace)
        # That may have been all; the team's code is compiled when there are more runs than one call is likely to have.
        if not CODE.done and not (next(runs) > 1 and not CODE.begin()):
            return _in_turns(run, tiling, left, right, out, workers)
        words = np.array([workers, room[0]], np.int64)
        return together(left, right, out, workspace, team.mailbox(workers), words)

    if max(room[0], size) >= LEAST:
        return _Product(large, shape, dtype, empty)
    return _Product(whole, shape, dtype, np.empty)


def _in_turns(run: Callable[..., bool], tiling: Tiles, left: Any, right: Any, out: Any, workers: int) -> bool:
    """Make a product by threads of Python, in pieces of its rows or columns as native code would cut it."""
    if not type(left) is type(right) is np.ndarray:
        raise TypeError
    panel = tiling.width * tiling.lanes
    by_rows = left.strides[-1] != left.itemsize or out.shape[-1] < 2 * panel
    length, unit = (out.shape[-2], tiling.heights[0]) if by_rows else (out.shape[-1], panel)
    step = unit * -(-length // (unit * RANGES * workers))
    room = tiling.workspace(step if by_rows else out.shape[-2], left.shape[-1])
    found = []

    def multiply_piece(k: int) -> None:
        at = slice(k * step, (k + 1) * step)
        arrays = (left[..., at, :], right, out[..., at, :]) if by_rows else (left, right[..., at], out[..., at])
        found.append(run(*arrays, np.empty(room, _BYTE)))

    share(-(-length // step), multiply_piece)
    return any(found)


def _by_transposes(native: Callable[..., bool]) -> Callable[..., bool]:
    """Return what makes products of one column as one row, along which vectors run."""

    def multiply_columns(a: Any, b: Any, out: Any, workspace: Any) -> bool:
        return native(b.mT, a.mT, out.mT, workspace)

    return multiply_columns


def _of_one_rank(run: Callable[..., bool], rank: int) -> Callable[..., bool]:
    """Return what gives both factors as many axes as their product has."""

    def multiply_stacks(a: Any, b: Any, *others: Any) -> bool:
        return run(a[(None,) * (rank - a.ndim)], b[(None,) * (rank - b.ndim)], *others)

    return multiply_stacks
