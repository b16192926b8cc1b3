"""CupyBackend: CuPy's functions as kernels, and why they may not run here."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from types import MappingProxyType
from typing import Any, final

import numpy as np

from gradloom.backend import AbstractBackend, Kernel, Specialised
from gradloom.errors import BackendError
from gradloom.spec import Spec

_INSTALL = "pip install 'gradloom[cuda13]' (or 'gradloom[cuda12]' for drivers before 580)"


@final
class CupyBackend(AbstractBackend):
    """Arrays are ``cupy.ndarray`` on the current device; 0-d results stay on the device.

    Notes
    -----
    Kernels are queued on the current stream and not waited for. Duplicate indices are summed by
    scatter-adds, in an order that may differ from run to run.
    """

    name = "cupy"

    @property
    def kernels(self) -> Mapping[str, Kernel | Specialised]:
        """CuPy's functions by op name.

        Raises
        ------
        BackendError
            If CuPy cannot be imported.
        """
        return _kernels()

    def recognises(self, kind: type) -> bool:
        """Return whether a type is CuPy's ndarray; never imports CuPy."""
        array = getattr(sys.modules.get("cupy"), "ndarray", None)
        return array is not None and issubclass(kind, array)

    def describe(self, array: Any) -> Spec:
        """Return the spec of an array."""
        return Spec(array.shape, array.dtype)

    def from_host(self, value: Any) -> Any:
        """Copy a NumPy array or scalar to the current device."""
        return _cupy().asarray(value)

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """Copy an array to host memory; waits for the kernels that compute it."""
        host: np.ndarray[Any, Any] = _cupy().asnumpy(array)
        return host

    def unavailable(self) -> str | None:
        """Return what is missing, package, driver or device, and the remedy; None if nothing is."""
        return why_unavailable()

    def copy(self, array: Any) -> Any:
        """Return a C-contiguous copy on the current device, of an array on any."""
        return array.copy()

    def devices(self) -> int:
        """Return how many CUDA devices there are; 0 where CuPy cannot run."""
        return 0 if why_unavailable() else int(_cupy().cuda.runtime.getDeviceCount())

    def on_device(self, index: int) -> AbstractContextManager[Any]:
        """Return ``cupy.cuda.Device(index)``."""
        device: AbstractContextManager[Any] = _cupy().cuda.Device(index)
        return device


@lru_cache(maxsize=1)
def why_unavailable() -> str | None:
    """Return why CuPy cannot run here, with the remedy, or None if it can."""
    try:
        import cupy
    except ImportError as error:
        return f"CuPy cannot be imported ({error}); {_INSTALL}"
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:
        return _driver_problem(str(error))
    return None if count else "there is no CUDA device; check `nvidia-smi` and CUDA_VISIBLE_DEVICES"


def _driver_problem(text: str) -> str:
    """Return what an error of the CUDA runtime means, in words."""
    if "NoDevice" in text:
        return f"there is no CUDA device ({text}); check `nvidia-smi` and CUDA_VISIBLE_DEVICES"
    if "InsufficientDriver" in text:
        return (
            f"there is no NVIDIA driver, or it is too old for this CuPy ({text}); "
            f"install or update the driver, or {_INSTALL}"
        )
    return f"the CUDA runtime does not start ({text}); check `nvidia-smi`, or {_INSTALL}"


@lru_cache(maxsize=1)
def _kernels() -> Mapping[str, Kernel | Specialised]:
    _cupy()
    from gradloom_cupy.kernels import KERNELS

    return MappingProxyType(KERNELS)


def _cupy() -> Any:
    """Return the module ``cupy``, or raise with the remedy."""
    try:
        import cupy
    except ImportError as error:
        raise BackendError(f"backend 'cupy' cannot run here: {why_unavailable()}") from error
    return cupy
