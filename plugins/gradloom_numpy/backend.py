"""NumpyBackend: kernels that are NumPy's own functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any, final

import numpy as np

from gradloom.backend import AbstractBackend, Kernel, Specialised
from gradloom.memory import LINE, empty
from gradloom.spec import Spec

_BYTE = np.dtype(np.uint8)


@final
class NumpyBackend(AbstractBackend):
    """Arrays are ``numpy.ndarray``; 0-d results may be NumPy scalars, as in NumPy."""

    name = "numpy"

    @property
    def kernels(self) -> Mapping[str, Kernel | Specialised]:
        """NumPy's functions by op name; imported only when asked for: what is compiled needs none."""
        from gradloom_numpy.kernels import KERNELS

        return MappingProxyType(KERNELS)

    def recognises(self, kind: type) -> bool:
        """Return whether a type is ndarray or a NumPy scalar.

        Subclasses may mean something else by an operator (masks, matrices, units): they are refused.
        """
        return kind is np.ndarray or issubclass(kind, (np.generic, np.memmap))

    def describe(self, array: Any) -> Spec:
        """Return the spec of an array."""
        return Spec(array.shape, array.dtype)

    def from_host(self, value: Any) -> Any:
        """Return the value itself."""
        return value

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """Return the array itself."""
        return np.asarray(array)

    def copy(self, array: Any) -> Any:
        """Return a C-contiguous copy in native byte order."""
        if isinstance(array, np.generic):  # cannot change, and its own copy takes as long as a call of jit
            return array
        return array.copy() if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="), order="C")

    def arena(self, size: int, places: Sequence[tuple[int, Spec]]) -> Sequence[Any]:
        """Return arrays at some places of a block, which starts on a cache line."""
        block = empty((size + LINE,), _BYTE)
        start = -block.ctypes.data % LINE
        return [np.ndarray(spec.shape, spec.dtype, block, start + offset) for offset, spec in places]

    def constant(self, scalar: Any, among_scalars: bool) -> Any:
        """Return a NumPy scalar among scalars and a 0-d array among arrays."""
        return scalar if among_scalars else np.asarray(scalar)

    def has_nan(self, array: Any) -> bool:
        """Return whether an array holds a NaN, in one pass: a sum of squares is NaN if an element is."""
        if not array.ndim:
            return bool(array != array)
        if array.ndim == 1 or array.flags.c_contiguous:
            flat = array.reshape(-1)
            square = flat.dot(flat)
            # Complex products of infinities are NaN too: then the elements decide.
            return bool(square != square) and bool(np.isnan(array).any())
        return bool(np.isnan(array).any())

    def quiet(self) -> AbstractContextManager[Any]:
        """Return a context without floating-point warnings."""
        return np.errstate(all="ignore")

    def reporting(self, report: Callable[[str], object]) -> AbstractContextManager[Any]:
        """Return a context in which what would warn is reported instead; what is ignored or raises stays so."""
        warning: dict[str, Any] = {kind: "call" for kind, action in np.geterr().items() if action == "warn"}
        return np.errstate(call=lambda kind, flag: report(kind), **warning)
