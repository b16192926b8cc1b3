"""The one place that limits the threads of BLAS and OpenMP libraries."""

from __future__ import annotations

import os
import threading
from importlib.util import find_spec
from typing import Any, final


@final
class _ThreadLimit:
    """A context in which BLAS calls take one thread each, entered by any number of threads at once.

    The first to enter sets the limit, the last to leave restores what was before: the limit holds for the whole
    process, as the libraries know no other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before: list[tuple[Any, int]] = []
        self._libraries: list[Any] | None = None

    def libraries(self) -> list[Any]:
        """Return a handle of each BLAS or OpenMP library in the process; none without threadpoolctl."""
        if self._libraries is None:
            if find_spec("threadpoolctl") is None:
                self._libraries = []
            else:
                # An optional dependency that takes milliseconds to import.
                from threadpoolctl import ThreadpoolController

                self._libraries = list(ThreadpoolController().lib_controllers)
        return self._libraries

    def __enter__(self) -> None:
        with self._lock:
            self._depth += 1
            if self._depth == 1:
                self._before = [(library, library.get_num_threads()) for library in self.libraries()]
                for library, _ in self._before:
                    library.set_num_threads(1)

    def __exit__(self, *exc: object) -> None:
        with self._lock:
            self._depth -= 1
            if not self._depth:
                for library, count in self._before:
                    library.set_num_threads(count)

    def threads(self) -> int:
        """Return how many threads a BLAS call takes where no limit is set."""
        with self._lock:
            if self._depth:
                return max([count for _, count in self._before], default=1)
            return max([library.get_num_threads() for library in self.libraries()], default=1)

    def restore_after_fork(self) -> None:
        """In a forked process no thread is left that would end a limit."""
        self._lock = threading.Lock()
        if self._depth:
            self._depth = 0
            for library, count in self._before:
                library.set_num_threads(count)


_LIMIT = _ThreadLimit()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIMIT.restore_after_fork)


def one_thread_each() -> _ThreadLimit:
    """Return a context in which BLAS and OpenMP calls take one thread each; restored after."""
    return _LIMIT


def blas_threads() -> int:
    """Return how many threads a BLAS call takes in this process, outside `one_thread_each`."""
    return _LIMIT.threads()


def can_limit() -> bool:
    """Return whether threads of BLAS can be limited (threadpoolctl is installed)."""
    return find_spec("threadpoolctl") is not None
