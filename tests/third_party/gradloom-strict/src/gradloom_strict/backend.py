"""StrictBackend: arrays on a device of their own, from which nothing reaches NumPy unasked."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, final

import array_api_strict as xp
import numpy as np

from gradloom.backend import AbstractBackend
from gradloom.spec import Spec
from gradloom_strict.arrays import DEVICES, device, numpy_dtype, on_device
from gradloom_strict.kernels import KERNELS


@final
class StrictBackend(AbstractBackend):
    """Arrays of array-api-strict on a device that NumPy cannot read."""

    name = "strict"

    @property
    def kernels(self) -> Mapping[str, Any]:
        """Functions of the array API standard by op name."""
        return KERNELS

    def recognises(self, kind: type) -> bool:
        """Return whether a type is that of strict arrays."""
        return kind.__module__.startswith("array_api_strict") and kind is type(xp.empty(0))

    def describe(self, array: Any) -> Spec:
        """Return the spec of an array."""
        return Spec(array.shape, numpy_dtype(array.dtype))

    def from_host(self, value: Any) -> Any:
        """Copy a NumPy array to the device."""
        host = np.array(value)
        return xp.asarray(host.astype(host.dtype.newbyteorder("=")), device=device())

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy an array from the device."""
        return np.array(array.to_device(xp.Device("CPU_DEVICE")))

    def devices(self) -> int:
        """Return how many devices there are."""
        return len(DEVICES)

    def on_device(self, index: int) -> AbstractContextManager[None]:
        """Return a context in which arrays are made on a device."""
        return on_device(index)
