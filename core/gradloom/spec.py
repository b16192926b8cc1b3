"""Spec: the shape and dtype of a value, interned so that equal means identical."""

from __future__ import annotations

import math
import weakref
from functools import lru_cache
from typing import Any, final

import numpy as np

from gradloom.locks import new_lock
from gradloom.symbolic import Symbolic, lengths


@final
class _Interned:
    """The living specs by content; dead ones are dropped whenever their number may have doubled.

    The references have no callbacks: an interrupt that arrives while Python runs one is lost.
    """

    def __init__(self) -> None:
        self._references: dict[Any, weakref.ref[Spec]] = {}
        self._limit = 1024
        self._lock = new_lock()

    def get(self, key: Any) -> Spec | None:
        reference = self._references.get(key)
        return None if reference is None else reference()

    def setdefault(self, key: Any, new: Spec) -> Spec:
        with self._lock:
            found = self.get(key)
            if found is not None:
                return found
            if len(self._references) >= self._limit:
                self._drop_dead()
            self._references[key] = weakref.ref(new)
            return new

    def _drop_dead(self) -> None:
        self._references = {k: reference for k, reference in self._references.items() if reference() is not None}
        self._limit = max(1024, 2 * len(self._references))


_INTERNED = _Interned()


@final
class Spec:
    """Shape and dtype of one value.

    Two equal specs are the same object, so comparing and hashing cost nothing.

    Parameters
    ----------
    shape : tuple of int
        Length of every axis.
    dtype : dtype-like
        A NumPy bool, integer, float or complex dtype in native byte order.
    weak : bool, default False
        True for Python scalars, whose dtype yields to that of arrays (NEP 50).

    Attributes
    ----------
    ndim, size, nbytes : int
        Number of axes, of elements, and of bytes of a contiguous array.
    inexact : bool
        Whether the dtype is float or complex.
    symbolic : bool
        Whether there are symbolic lengths in the shape.

    Examples
    --------
    >>> from gradloom.spec import Spec
    >>> Spec((2, 3), "float32")
    float32[2,3]
    >>> Spec((2, 3), "float32") is Spec((2, 3), "float32")
    True
    """

    __slots__ = ("__weakref__", "dtype", "inexact", "nbytes", "ndim", "shape", "size", "symbolic", "weak")

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    weak: bool
    ndim: int
    size: int
    nbytes: int
    inexact: bool
    symbolic: bool

    def __new__(cls, shape: tuple[int, ...], dtype: Any, weak: bool = False) -> Spec:
        """Return the one spec of a shape and dtype."""
        dtype = np.dtype(dtype)
        key = (shape, dtype, weak)
        found = _INTERNED.get(key)
        if found is not None:
            return found
        new = object.__new__(cls)
        new.shape = shape = lengths(shape)
        new.dtype = dtype if dtype.isnative else dtype.newbyteorder("=")
        new.weak = weak
        new.ndim = len(shape)
        new.size = size = math.prod(shape)
        new.nbytes = size * dtype.itemsize
        new.inexact = dtype.kind in "fc"
        new.symbolic = Symbolic in map(type, shape)
        return _INTERNED.setdefault((shape, new.dtype, weak), new)

    def with_shape(self, shape: tuple[int, ...]) -> Spec:
        """Return the spec of the same dtype and another shape."""
        return Spec(shape, self.dtype)

    def with_dtype(self, dtype: Any) -> Spec:
        """Return the spec of the same shape and another dtype."""
        return Spec(self.shape, dtype)

    def strong(self) -> Spec:
        """Return this spec without weakness."""
        return Spec(self.shape, self.dtype) if self.weak else self

    def __reduce__(self) -> tuple[Any, ...]:
        return Spec, (self.shape, self.dtype, self.weak)

    def __repr__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


#: `Spec` for hot paths: looks in a small cache of recent ones first.
recent_spec = lru_cache(maxsize=4096)(Spec)

FLOAT = Spec((), np.float64, weak=True)
COMPLEX = Spec((), np.complex128, weak=True)
INT = Spec((), np.int64, weak=True)
BOOL = Spec((), np.bool_)

#: Specs of Python scalars; bool is not weak (NEP 50).
PYTHON_SCALARS: dict[type, Spec] = {float: FLOAT, complex: COMPLEX, int: INT, bool: BOOL}

#: What Python scalars are, where they meet no array: what is cast to another dtype yields to none.
WEAK_DTYPES = frozenset({FLOAT.dtype, COMPLEX.dtype, INT.dtype})


def real_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the dtype of the real part of values of a dtype."""
    real: np.dtype[Any] = dtype.type(0).real.dtype
    return real if dtype.kind == "c" else dtype


def broadcast_shapes(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that shapes broadcast to; raise a ValueError if they do not.

    Unlike NumPy's, it does not ask for the value of a symbolic length.
    """
    lengths: list[int] = [1] * max(map(len, shapes), default=0)
    for shape in shapes:
        for axis, n in enumerate(shape, len(lengths) - len(shape)):
            if n != 1 and n != lengths[axis]:
                if lengths[axis] != 1 or n < 0:
                    raise ValueError(f"shapes do not broadcast: {shapes}")
                lengths[axis] = n
    return tuple(lengths)


#: The entry of an index, as ops take it, for an axis that is taken whole: it is the same for all lengths.
WHOLE = ":"


def sliced(start: int, stop: int, step: int, length: int) -> Any:
    """Return the entry of an index, as ops take it, for a slice of an axis, given as `slice.indices` does."""
    return WHOLE if start == 0 and stop == length and step == 1 else ("slice", start, stop, step)


def taken_length(entry: Any, length: int) -> int:
    """Return how many elements of an axis an entry takes that is whole or a slice.

    Unlike ``len(range(...))``, it does not ask for the value of a symbolic number.
    """
    if entry == WHOLE:
        return length
    _, start, stop, step = entry
    if step != 1:
        count: int = (stop - start + step - (1 if step > 0 else -1)) // step
        return count if count > 0 else 0
    return stop - start if stop > start else 0
