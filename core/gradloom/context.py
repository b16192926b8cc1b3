"""Context: the backend and the scheduler chosen with ``with``, per thread and per task."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from gradloom.backend import backends
from gradloom.errors import BackendError
from gradloom.executor import AbstractExecutor, SerialExecutor, executors
from gradloom.registry import Registry

_BACKEND: ContextVar[str | None] = ContextVar("gradloom_backend", default=None)
_EXECUTOR: ContextVar[AbstractExecutor | None] = ContextVar("gradloom_executor", default=None)
_SERIAL = SerialExecutor()


@contextmanager
def backend(name: str) -> Iterator[None]:
    """Run everything inside on one backend, whatever the kinds of the inputs.

    Parameters
    ----------
    name : str
        Name of an installed backend; see `gradloom.backends`.

    Raises
    ------
    BackendError
        If the backend is unknown or cannot run here.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> with gl.backend("numpy"):
    ...     gl.grad(np.sin)(0.0)
    np.float64(1.0)
    """
    require_backend(name)
    token = _BACKEND.set(name)
    try:
        yield
    finally:
        _BACKEND.reset(token)


def require_backend(name: str) -> None:
    """Raise unless a backend exists and can run here."""
    reason = backends.get(name).unavailable()
    if reason is not None:
        raise _unavailable("backend", name, reason, backends)


def _unavailable(kind: str, name: str, reason: str, registry: Registry[Any]) -> BackendError:
    ready = sorted([other.name for other in registry if other.unavailable() is None])
    return BackendError(
        f"{kind} {name!r} cannot run here: {reason}",
        argument=kind,
        expected=f"one that is ready: {', '.join(ready)}",
        got=repr(name),
        remedy="see what is ready with gl.backends(), or run `python -m gradloom doctor`",
    )


@contextmanager
def scheduler(name: Any) -> Iterator[None]:
    """Run everything inside with one executor.

    Parameters
    ----------
    name : str or AbstractExecutor
        Name of an installed executor (``"serial"``), or an executor.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> with gl.scheduler("serial"):
    ...     gl.grad(np.sin)(0.0)
    np.float64(1.0)
    """
    executor = name if isinstance(name, AbstractExecutor) else executors.get(name)
    reason = executor.unavailable()
    if reason is not None:
        raise _unavailable("scheduler", executor.name, reason, executors)
    token = _EXECUTOR.set(executor)
    try:
        yield
    finally:
        _EXECUTOR.reset(token)


def current_backend() -> str | None:
    """Return the backend chosen with `backend`, or None."""
    return _BACKEND.get()


def current_executor() -> AbstractExecutor:
    """Return the executor chosen with `scheduler`, or the serial one."""
    return _EXECUTOR.get() or _SERIAL
