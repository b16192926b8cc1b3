"""A stand-in for CuPy on machines without a GPU: its interface, computed by NumPy.

It lacks what CuPy 14 lacks and refuses what CuPy refuses: NumPy arrays and lists as arguments,
implicit conversion to NumPy. Kernels that pass with it call what exists, on device arrays
only, and compute the right values; precision and speed are for a real device.
"""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import scipy.special

#: What NumPy has and CuPy 14 has not.
LACKING = frozenset(
    "block bmat asmatrix einsum_path frompyfunc fromregex geomspace histogram_bin_edges insert matvec vecmat "
    "vecdot nanpercentile nanquantile polyder polydiv polyint spacing unstack".split()
)
LINALG = frozenset("cholesky det eigh inv pinv qr slogdet solve svd norm".split())
SPECIAL_LACKING = frozenset("dawsn iv ive jv kv yv".split())


#: The device in use.
DEVICE: ContextVar[int] = ContextVar("device", default=0)


class Device:
    """What ``cupy.cuda.Device`` is as a context."""

    def __init__(self, index: int) -> None:
        self._index = index

    def __enter__(self) -> None:
        self._token = DEVICE.set(self._index)

    def __exit__(self, *error: object) -> None:
        DEVICE.reset(self._token)


class ndarray:  # noqa: N801  (the name that CuPy gives it)
    """An array "on a device"."""

    __array_ufunc__ = None

    def __init__(self, host: Any) -> None:
        self._array = np.asarray(host)
        self._device = DEVICE.get()

    @property
    def _host(self) -> Any:
        if self._device != DEVICE.get():
            raise ValueError(
                "Array device must be same as the current device: "
                f"array device = {self._device} while current = {DEVICE.get()}"
            )
        return self._array

    @_host.setter
    def _host(self, host: Any) -> None:
        self._array = host

    def copy(self) -> ndarray:
        """Return a copy on the current device."""
        return ndarray(self._array.copy())

    def __array__(self, *args: Any, **keywords: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed.")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        found = getattr(self._host, name)
        return on_device(found) if callable(found) else to_device(found)

    def __getitem__(self, index: Any) -> Any:
        return ndarray(self._host[host_index(index)])

    def __setitem__(self, index: Any, value: Any) -> None:
        self._host[host_index(index)] = to_host(value)

    def __len__(self) -> int:
        return len(self._host)

    def __bool__(self) -> bool:
        return bool(self._host)

    def __iadd__(self, other: Any) -> ndarray:
        self._host += to_host(other)
        return self

    def __ior__(self, other: Any) -> ndarray:
        self._host |= to_host(other)
        return self


def _install_operators() -> None:
    words = "add sub mul truediv floordiv mod pow matmul and or xor lt le gt ge eq ne neg pos invert".split()
    for word in words:
        function = on_device(getattr(operator, f"__{word}__"))
        setattr(ndarray, f"__{word}__", function)
        if word in ("add", "sub", "mul", "truediv", "pow", "matmul", "and", "or"):
            setattr(ndarray, f"__r{word}__", lambda self, other, function=function: function(other, self))


def to_host(value: Any) -> Any:
    """Return what NumPy computes with; refuse what CuPy would refuse."""
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, np.ndarray | list):
        raise TypeError(f"Unsupported type {type(value)}")
    return value


def to_device(value: Any) -> Any:
    """Return a result in the form that CuPy gives: arrays, 0-d ones too."""
    if isinstance(value, np.ndarray | np.generic):
        return ndarray(value)
    return tuple([to_device(v) for v in value]) if type(value) is tuple and hasattr(value, "_fields") else value


def host_index(index: Any) -> Any:
    return tuple([to_host(i) for i in index]) if isinstance(index, tuple) else to_host(index)


def on_device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function of device arrays."""

    def call(*args: Any, **keywords: Any) -> Any:
        host = [tuple(map(to_host, a)) if isinstance(a, tuple) else to_host(a) for a in args]
        with np.errstate(all="ignore"):
            result = function(*host, **{key: to_host(value) for key, value in keywords.items()})
        if type(result) is tuple or hasattr(result, "_fields"):
            return tuple(map(to_device, result))
        return to_device(result)

    return call


class Namespace(ModuleType):
    """A module that takes its functions from NumPy, SciPy or a table."""

    def __init__(self, name: str, source: Any, lacking: frozenset[str], **table: Any) -> None:
        super().__init__(name)
        self.__dict__.update(table, _source=source, _lacking=lacking, __path__=[])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in self._lacking:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return on_device(getattr(self._source, name))


def solve(a: Any, b: Any) -> Any:
    """Solve as CuPy does: leading axes must agree."""
    if a.shape[:-1] != b.shape[:-1]:
        raise ValueError("a must have (..., M, M) shape and b must have (..., M, K)")
    return np.linalg.solve(a, b)


def searchsorted(a: Any, v: Any, side: str = "left") -> Any:
    """Search as CuPy does: one row."""
    if a.ndim != 1:
        raise ValueError("object of too small or too large depth for desired array")
    return np.searchsorted(a, v, side)


def scatter_add(a: ndarray, index: Any, value: Any) -> None:
    if a._host.dtype.char not in "iIQLqlfdFD" or a._host.dtype.char in "ql":
        raise TypeError(f"scatter_add only supports int32, float32, ... as data type, not {a._host.dtype}")
    np.add.at(a._host, host_index(index), to_host(value))


def _modules() -> dict[str, ModuleType]:
    linalg = Namespace("cupy.linalg", np.linalg, frozenset(dir(np.linalg)) - LINALG, solve=on_device(solve))
    tricks = Namespace("cupy.lib.stride_tricks", np.lib.stride_tricks, frozenset())
    fft = Namespace("cupy.fft", np.fft, frozenset())
    lib = Namespace("cupy.lib", SimpleNamespace(), frozenset(), stride_tricks=tricks)
    cupy = Namespace(
        "cupy",
        np,
        LACKING,
        ndarray=ndarray,
        linalg=linalg,
        fft=fft,
        lib=lib,
        asarray=lambda value: value if isinstance(value, ndarray) else ndarray(np.array(value)),
        asnumpy=lambda value: np.array(value._array),
        searchsorted=on_device(searchsorted),
        sort=on_device(lambda a, axis=-1: np.sort(a, axis, stable=True)),
        argsort=on_device(lambda a, axis=-1: np.argsort(a, axis, stable=True)),
        einsum=on_device(lambda subscripts, *operands, optimize=False: np.einsum(subscripts, *operands)),
        cuda=SimpleNamespace(runtime=SimpleNamespace(getDeviceCount=lambda: 2), Device=Device),
    )
    special = Namespace("cupyx.scipy.special", scipy.special, SPECIAL_LACKING)
    cupyx_scipy = Namespace("cupyx.scipy", SimpleNamespace(), frozenset(), special=special)
    cupyx = Namespace(
        "cupyx",
        SimpleNamespace(),
        frozenset(),
        scipy=cupyx_scipy,
        scatter_add=scatter_add,
        errstate=lambda linalg: nullcontext(),
    )
    return {m.__name__: m for m in (cupy, linalg, fft, lib, tricks, cupyx, cupyx_scipy, special)}


_install_operators()


@contextmanager
def installed() -> Iterator[None]:
    """Let ``import cupy`` find the stand-in, for the CuPy backend alone."""
    from gradloom.backend import backend_of_type
    from gradloom_cupy.backend import _kernels, why_unavailable

    def forget() -> None:
        for name in [n for n in sys.modules if n.startswith("gradloom_cupy.kernels")]:
            del sys.modules[name]
        for cached in (_kernels, why_unavailable, backend_of_type):
            cached.cache_clear()

    stand_in = _modules()
    before = {name: module for name, module in sys.modules.items() if name.split(".")[0] in ("cupy", "cupyx")}
    for name in before:
        del sys.modules[name]
    forget()
    sys.modules.update(stand_in)
    try:
        yield
    finally:
        for name in [n for n in sys.modules if n.split(".")[0] in ("cupy", "cupyx")]:
            del sys.modules[name]
        sys.modules.update(before)
        forget()
