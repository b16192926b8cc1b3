"""AbstractBackend: an array type and one kernel per op; and how values are recognised."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache
from operator import itemgetter
from typing import Any, final

import numpy as np

from gradloom.errors import MissingKernelError, PluginError
from gradloom.locks import new_lock
from gradloom.op import Op
from gradloom.registry import Registry
from gradloom.spec import PYTHON_SCALARS, Spec, recent_spec

Kernel = Callable[..., Any]


@final
class Specialised:
    """A kernel factory: given a node's attrs once, it returns the callable that runs.

    Parameters
    ----------
    factory : callable
        ``factory(**attrs)`` returns ``kernel(*arrays)``.
    """

    __slots__ = ("factory",)

    def __init__(self, factory: Callable[..., Kernel]) -> None:
        self.factory = factory


@final
class ForeignKernels:
    """Kernels that plugins bring, with their ops, for backends that are not their own.

    They are kept by the backend's name, whether or not that backend is installed.
    """

    def __init__(self) -> None:
        self._kernels: dict[tuple[str, str], tuple[Kernel | Specialised, str]] = {}
        self._lock = new_lock()

    def add(self, backend: str, op: Op, kernel: Kernel | Specialised, owner: str) -> None:
        """Keep a kernel; a second one for the same backend and op is refused, naming both owners."""
        if not isinstance(kernel, Specialised) and not callable(kernel):
            raise PluginError(
                f"no kernel for backend {backend!r}",
                op=op.name,
                argument="kernels",
                expected="callables kernel(*arrays, **attrs), or Specialised factories",
                got=type(kernel).__name__,
                remedy=f"give kernels as functions, and leave out a backend that has none, such as {backend!r}",
            )
        with self._lock:
            taken = self._kernels.get((backend, op.name))
            if taken is not None:
                raise PluginError(
                    f"backend {backend!r} has a kernel for this op already",
                    op=op.name,
                    expected=f"no kernel beside that of {taken[1]}",
                    got=f"a second one by {owner}",
                    remedy=f"uninstall {taken[1]} or {owner}, or list only the wanted plugins in GRADLOOM_PLUGINS",
                )
            self._kernels[backend, op.name] = kernel, owner

    def discard(self, backend: str, op: Op) -> None:
        """Take back a kernel of a broken plugin."""
        with self._lock:
            self._kernels.pop((backend, op.name), None)

    def get(self, backend: str, op: Op) -> Kernel | Specialised | None:
        """Return the kernel that a plugin brought for a backend, or None."""
        found = self._kernels.get((backend, op.name))
        return None if found is None else found[0]


#: The kernels that plugins brought with their ops.
foreign_kernels = ForeignKernels()


class AbstractBackend(ABC):
    """An array type and its kernels.

    Laws, checked by `gradloom.testing`:

    - ``describe(from_host(a))`` equals ``describe`` of the NumPy array ``a``, and
      ``to_host(from_host(a))`` equals ``a`` bit for bit.
    - A kernel returns arrays of the spec that the op's spec rule gives, and never changes its
      arguments (unless called with ``donate=True``, then argument 0 may be overwritten).
    - ``recognises`` is true for the types that kernels return, and for no type of another
      backend.
    """

    #: The backend's name.
    name: str

    @property
    @abstractmethod
    def kernels(self) -> Mapping[str, Kernel | Specialised]:
        """Kernels by op name: ``kernel(*arrays, **attrs)``, or a `Specialised` factory."""

    @abstractmethod
    def recognises(self, kind: type) -> bool:
        """Return whether values of a type are this backend's arrays."""

    @abstractmethod
    def describe(self, array: Any) -> Spec:
        """Return the spec of an array."""

    @abstractmethod
    def from_host(self, value: Any) -> Any:
        """Return a NumPy array or scalar as an array of this backend."""

    @abstractmethod
    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        """Return an array of this backend as a NumPy array."""

    #: Whether it computes whole graphs, by `run_graph`, on its own arrays and those of the host,
    #: instead of having kernels: a backend of chunked arrays.
    whole_graphs: bool = False

    def run_graph(self, graph: Any, values: Sequence[Any], sources: Sequence[Any]) -> list[Any]:
        """Compute a graph, if the backend has ``whole_graphs``; return one array per output."""
        raise NotImplementedError

    def unavailable(self) -> str | None:
        """Return why the backend cannot run here, or None if it can."""
        return None

    def devices(self) -> int:
        """Return how many devices the backend has here; they are numbered from 0."""
        return 0 if self.whole_graphs else 1

    def on_device(self, index: int) -> AbstractContextManager[Any]:
        """Return a context in which `from_host`, `copy` and the kernels make arrays on a device.

        All arrays that a kernel is given are on that device; `copy` and `to_host` take arrays of any.
        """
        return nullcontext()

    def copy(self, array: Any) -> Any:
        """Return a contiguous copy."""
        return self.from_host(self.to_host(array).copy())

    def arena(self, size: int, places: Sequence[tuple[int, Spec]]) -> Sequence[Any]:
        """Return uninitialised C-contiguous arrays in one block of memory: one for each offset and spec.

        Only plans ask for it that have kernels which write where they are told.
        """
        raise NotImplementedError

    def constant(self, scalar: Any, among_scalars: bool) -> Any:
        """Return a literal in the form that is quickest beside scalars, or beside arrays."""
        return scalar

    def has_nan(self, array: Any) -> bool | None:
        """Return whether an array holds a NaN, or None where finding out is not cheap."""
        return None

    def quiet(self) -> AbstractContextManager[Any]:
        """Return a context that silences floating-point warnings (for gradient nodes)."""
        return nullcontext()

    def reporting(self, report: Callable[[str], object]) -> AbstractContextManager[Any]:
        """Return a context in which what would warn (``"overflow"``, say) is reported instead."""
        return nullcontext()

    def kernel(self, op: Op, attrs: tuple[Any, ...]) -> tuple[Kernel, dict[str, Any]]:
        """Return the callable for an op and the attrs it still takes.

        The backend's own kernel comes first, then one that a plugin brought with the op.
        """
        if op.name == "item":  # one of a tuple of outputs: the same everywhere
            return itemgetter(*attrs), {}
        found = self.kernels.get(op.name)
        if found is None:
            found = foreign_kernels.get(self.name, op)
        if found is None:
            raise MissingKernelError(
                f"backend {self.name!r} has no kernel for this op",
                op=op.name,
                remedy=f"add one to the kernels of {type(self).__module__}, register the op with "
                f"kernels={{{self.name!r}: ...}}, or use another backend",
            )
        if isinstance(found, Specialised):
            return found.factory(**op.attr_dict(attrs)), {}
        return found, op.attr_dict(attrs)


#: All backends, by name.
backends: Registry[AbstractBackend] = Registry("backend", AbstractBackend)  # type: ignore[type-abstract]


@lru_cache(maxsize=256)
def backend_of_type(kind: Any) -> str | None:
    """Return the name of the backend whose arrays are of a type, or None."""
    if kind in PYTHON_SCALARS or issubclass(kind, np.generic):
        return "numpy"
    for backend in backends:
        if backend.recognises(kind):
            return backend.name
    return None


def spec_of(value: Any) -> Spec | None:
    """Return the spec of an array or scalar, None for anything else."""
    kind = type(value)
    if kind is np.ndarray or isinstance(value, np.generic):
        return recent_spec(value.shape, value.dtype) if value.dtype.kind in "biufc" else None
    weak = PYTHON_SCALARS.get(kind)
    if weak is not None:
        return weak
    name = backend_of_type(kind)  # type: ignore[arg-type]  # types are hashable
    return None if name is None else backends.get(name).describe(value)
