"""What the kernels share: the device, dtypes, and gaps of the standard filled from its parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import array_api_strict as xp
import numpy as np

#: Arrays on these devices refuse to become NumPy arrays, and to meet arrays of another device.
DEVICES = (xp.Device("device1"), xp.Device("device2"))
#: The number of the device in use.
CURRENT: ContextVar[int] = ContextVar("gradloom_strict_device", default=0)


def device() -> Any:
    """Return the device in use."""
    return DEVICES[CURRENT.get()]


@contextmanager
def on_device(index: int) -> Iterator[None]:
    """Make arrays on another device."""
    token = CURRENT.set(index)
    try:
        yield
    finally:
        CURRENT.reset(token)


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """Return the NumPy dtype of the same name."""
    return np.dtype(str(dtype).rsplit(".", 1)[-1])


def strict_dtype(dtype: Any) -> Any:
    """Return the strict dtype of the same name as a NumPy dtype."""
    return getattr(xp, np.dtype(dtype).name)


def kind(x: Any) -> str:
    """Return the kind of dtype as NumPy's letter."""
    return numpy_dtype(x.dtype).kind


def cast(x: Any, dtype: Any) -> Any:
    """Cast to a strict dtype; the standard wants the real part taken first."""
    if kind(x) == "c" and not xp.isdtype(dtype, "complex floating"):
        x = x != 0 if dtype == xp.bool else xp.real(x)
    return xp.astype(x, dtype)


def numeric(x: Any) -> Any:
    """Return booleans as small integers: the standard does not compute with them."""
    return xp.astype(x, xp.int8) if x.dtype == xp.bool else x


def full(shape: Any, value: Any, dtype: Any) -> Any:
    """Return an array of one value on the device."""
    return xp.full(tuple(shape), value, dtype=dtype, device=device())


def arange(*bounds: int) -> Any:
    """Return integers on the device."""
    return xp.arange(*bounds, dtype=xp.int64, device=device())


def annihilating_multiply(x: Any, y: Any) -> Any:
    """Multiply; where either factor is exactly zero the result is zero, whatever the other is."""
    product = x * y
    zero = xp.logical_or(x == 0, y == 0)
    return xp.where(xp.logical_and(xp.isnan(product), zero), full((), 0, product.dtype), product)


def identity(x: Any) -> Any:
    """Return the array itself."""
    return x
