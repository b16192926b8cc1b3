"""A backend of three boards: NumPy behind arrays that belong to one board each, and refuse to meet another's."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Any, final

import numpy as np
import pytest

from gradloom.backend import AbstractBackend, Kernel, Specialised, backend_of_type, backends
from gradloom.registry import Entry
from gradloom.spec import Spec

#: The board in use.
BOARD: ContextVar[int] = ContextVar("board", default=0)
#: How often each op ran on each board.
RAN: Counter[tuple[str, int]] = Counter()


class Array:
    """An array on one board; NumPy cannot read it."""

    __array_ufunc__ = None

    def __init__(self, host: Any, board: int) -> None:
        self.host = np.asarray(host)
        self.board = board

    def __array__(self, *args: Any, **options: Any) -> Any:
        raise TypeError("an array on a board is no NumPy array")

    def __getitem__(self, k: Any) -> Any:
        return Array(self.host[k], self.board)


@final
class Boards(AbstractBackend):
    name = "boards"

    @property
    def kernels(self) -> Mapping[str, Kernel | Specialised]:
        return {name: _on_board(name, kernel) for name, kernel in backends.get("numpy").kernels.items()}

    def recognises(self, kind: type) -> bool:
        return issubclass(kind, Array)

    def describe(self, array: Any) -> Spec:
        return Spec(array.host.shape, array.host.dtype)

    def from_host(self, value: Any) -> Any:
        return Array(value, BOARD.get())

    def to_host(self, array: Any) -> np.ndarray[Any, Any]:
        host: np.ndarray[Any, Any] = array.host
        return host

    def devices(self) -> int:
        return 3

    def on_device(self, index: int) -> AbstractContextManager[Any]:
        return _on(index)


@contextmanager
def _on(index: int) -> Iterator[None]:
    token = BOARD.set(index)
    try:
        yield
    finally:
        BOARD.reset(token)


def _on_board(name: str, kernel: Kernel | Specialised) -> Kernel | Specialised:
    if isinstance(kernel, Specialised):
        factory = kernel.factory
        return Specialised(lambda **attrs: _on_board(name, factory(**attrs)))  # type: ignore[arg-type,return-value]
    called = operator.methodcaller("copy") if name == "positive" else kernel

    def run(*arrays: Array, **attrs: Any) -> Any:
        board = BOARD.get()
        assert all(a.board == board for a in arrays), f"{name}: arrays of other boards than {board}"
        RAN[name, board] += 1
        out = called(*[a.host for a in arrays], **attrs)
        return tuple([Array(o, board) for o in out]) if isinstance(out, tuple) else Array(out, board)

    return run


@contextmanager
def installed() -> Iterator[Boards]:
    """Let the backend be found by its name."""
    backends.ensure_loaded()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(backends._entries, "boards", Entry("boards", Boards, "tests"))
        patch.setitem(backends._built, "boards", Boards())
        backend_of_type.cache_clear()
        yield backends.get("boards")  # type: ignore[misc]
    backend_of_type.cache_clear()
