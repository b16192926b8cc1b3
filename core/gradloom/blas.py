"""The one place that limits the threads of BLAS and OpenMP libraries."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, final

from gradloom.packages import installed

#: Whether a limit holds in this thread already: nested ones change nothing.
_INSIDE: ContextVar[bool] = ContextVar("gradloom_blas_limited", default=False)


@final
class _Libraries:
    """The number of threads of all BLAS and OpenMP libraries, which know one for the whole process.

    Limits of one number may be set by any number of threads at once: the first sets it, the last to leave
    restores what was before. A limit of another number waits meanwhile.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._depth = 0
        self._limit = 0
        self._before: list[tuple[Any, int]] = []
        self._found: dict[str, Any] = {}
        self._modules = 0

    def _look(self) -> list[Any]:
        """Return a handle of each library in the process, held to the limit in force; none without threadpoolctl.

        Libraries come with modules: they are looked for where there are new ones. The lock is held.
        """
        if self._modules != len(sys.modules) and can_limit():
            # An optional dependency that takes milliseconds to import.
            from threadpoolctl import ThreadpoolController

            self._modules = len(sys.modules)
            for library in ThreadpoolController().lib_controllers:
                if library.filepath not in self._found:
                    self._found[library.filepath] = library
                    if self._depth:
                        self._hold(library)
        return list(self._found.values())

    def _hold(self, library: Any) -> None:
        self._before.append((library, library.get_num_threads()))
        _set_threads(library, self._limit)

    def look(self) -> None:
        """Hold libraries that were loaded since the limit was set to it."""
        with self._changed:
            self._look()

    @contextmanager
    def limited(self, limit: int) -> Iterator[None]:
        """Let each call take some number of threads."""
        if _INSIDE.get():
            yield
            return
        self._enter(limit)
        token = _INSIDE.set(True)
        try:
            yield
        finally:
            _INSIDE.reset(token)
            self._leave()

    def _enter(self, limit: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._depth or self._limit == limit)
            libraries = self._look()
            self._depth += 1
            if self._depth == 1:
                self._limit, self._before = limit, []
                for library in libraries:
                    self._hold(library)

    def _leave(self) -> None:
        with self._changed:
            self._depth -= 1
            if not self._depth:
                for library, count in self._before:
                    _set_threads(library, count)
                self._changed.notify_all()

    def threads(self) -> int:
        """Return how many threads a call takes where no limit is set."""
        with self._changed:
            if self._depth:
                return max([count for _, count in self._before], default=1)
            return max([library.get_num_threads() for library in self._look()], default=1)

    def after_fork(self) -> None:
        """End the limits of threads that a forked process has not got."""
        self._changed = threading.Condition()
        if self._depth and not _INSIDE.get():
            self._depth = 0
            for library, count in self._before:
                _set_threads(library, count)


def _set_threads(library: Any, count: int) -> None:
    """Set the number of threads of a library, from any thread.

    threadpoolctl 3.8 obeys the thread that was first to set OpenBLAS's number, and ignores all others without a word,
    until that one is told to have done. Here a lock sees to it that threads take turns.
    """
    done = getattr(library, "clear_controlling_thread", None)
    if done is not None:
        done(force=True)
    library.set_num_threads(count)
    if done is not None:
        done()


_LIBRARIES = _Libraries()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_LIBRARIES.after_fork)


def one_thread_each() -> AbstractContextManager[None]:
    """Return a context in which BLAS and OpenMP calls take one thread each; restored after."""
    return _LIBRARIES.limited(1)


def limited_to(threads: int | None) -> AbstractContextManager[None]:
    """Return a context in which BLAS and OpenMP calls take some number of threads; None changes nothing."""
    return nullcontext() if threads is None else _LIBRARIES.limited(threads)


def limit_new_libraries() -> None:
    """Hold a library that was loaded just now, inside of a limit, to the limit too."""
    _LIBRARIES.look()


def has_limit() -> bool:
    """Return whether a limit holds in this thread."""
    return _INSIDE.get()


def blas_threads() -> int:
    """Return how many threads a BLAS call takes in this process, outside `one_thread_each`."""
    return _LIBRARIES.threads()


def can_limit() -> bool:
    """Return whether threads of BLAS can be limited (threadpoolctl is installed)."""
    return installed("threadpoolctl")
