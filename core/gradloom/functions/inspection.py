"""Traced counterparts of NumPy functions that ask about arrays instead of computing new ones."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np

from gradloom.dispatch import implements
from gradloom.spec import PYTHON_SCALARS
from gradloom.trace import Handle

Tensor = Any


@implements(np.isclose)
def np_isclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> Tensor:
    """Return where two arrays agree within a tolerance."""
    a, b = (x if hasattr(x, "dtype") or type(x) in PYTHON_SCALARS else np.asarray(x) for x in (a, b))
    b = _inexact(b)
    result = (abs(a - b) <= atol + rtol * abs(b)) & np.isfinite(b) | (a == b)
    return result | (np.isnan(a) & np.isnan(b)) if equal_nan else result


def _inexact(x: Any) -> Any:
    """Return a value as a float, as differences of unsigned integers would wrap around."""
    if type(x) in PYTHON_SCALARS:
        return float(x) if isinstance(x, int) else x
    weak = isinstance(x, Handle) and x.spec.weak
    return x * 1.0 if weak else np.astype(x, np.result_type(x.dtype, 1.0))


@implements(np.allclose)
def np_allclose(a: Any, b: Any, rtol: Any = 1e-05, atol: Any = 1e-08, equal_nan: bool = False) -> bool:
    """Return whether two arrays agree within a tolerance; looks at the values."""
    return bool(np.all(np_isclose(a, b, rtol, atol, equal_nan)))


@implements(np.array_equal)
def np_array_equal(a1: Any, a2: Any, equal_nan: bool = False) -> bool:
    """Return whether two arrays are equal; looks at the values."""
    return np.shape(a1) == np.shape(a2) and _all_equal(a1, a2, equal_nan)


@implements(np.array_equiv)
def np_array_equiv(a1: Any, a2: Any) -> bool:
    """Return whether two arrays are equal after broadcasting; looks at the values."""
    try:
        np.broadcast_shapes(np.shape(a1), np.shape(a2))
    except ValueError:
        return False
    return _all_equal(a1, a2, False)


def _all_equal(a: Any, b: Any, equal_nan: bool) -> bool:
    equal = np.equal(a, b)
    if equal_nan:
        equal = equal | (np.isnan(a) & np.isnan(b))
    return bool(np.all(equal))


@implements(np.isin)
def np_isin(
    element: Any, test_elements: Any, assume_unique: bool = False, invert: bool = False, *, kind: Any = None
) -> Tensor:
    """Return which elements are among others."""
    found = np.any(np.equal(np.expand_dims(element, -1), np.ravel(test_elements)), axis=-1)
    return np.logical_not(found) if invert else found


# -- what is known without values -----------------------------------------------------------------------


@implements(np.iscomplexobj)
def np_iscomplexobj(x: Any) -> bool:
    """Return whether the dtype is complex."""
    return bool(x.dtype.kind == "c")


@implements(np.isrealobj)
def np_isrealobj(x: Any) -> bool:
    """Return whether the dtype is not complex."""
    return bool(x.dtype.kind != "c")


@implements(np.result_type)
def np_result_type(*arrays_and_dtypes: Any) -> np.dtype[Any]:
    """Return the dtype in which NumPy joins values."""
    dtype: np.dtype[Any] = np.result_type(*[_without_tensor(x) for x in arrays_and_dtypes])
    return dtype


@implements(np.can_cast)
def np_can_cast(from_: Any, to: Any, casting: Any = "safe") -> bool:
    """Return whether a cast is allowed."""
    return np.can_cast(_without_tensor(from_), to, casting)


@implements(np.min_scalar_type)
def np_min_scalar_type(a: Any, /) -> np.dtype[Any]:
    """Return the dtype; a tensor has no value to look at."""
    dtype: np.dtype[Any] = a.dtype
    return dtype


@implements(np.common_type)
def np_common_type(*arrays: Any) -> Any:
    """Return the scalar type in which arrays are joined, at least a float."""
    empty: list[Any] = [np.empty(0, x.spec.dtype) if isinstance(x, Handle) else x for x in arrays]
    return np.common_type(*empty)


def _without_tensor(x: Any) -> Any:
    """Return a Python scalar or dtype that promotes as a tensor does."""
    if not isinstance(x, Handle):
        return x
    return x.spec.dtype.type(0).item() if x.spec.weak else x.spec.dtype


@implements(np.shape)
def np_shape(a: Any) -> tuple[int, ...]:
    """Return the shape."""
    return tuple(map(operator.index, a.shape))


@implements(np.ndim)
def np_ndim(a: Any) -> int:
    """Return the number of axes."""
    return int(a.ndim)


@implements(np.size)
def np_size(a: Any, axis: Any = None) -> int:
    """Return the number of elements, or the length of some axes."""
    if axis is None:
        return int(a.size)
    return operator.index(math.prod([a.shape[k] for k in (axis if isinstance(axis, tuple) else (axis,))]))
