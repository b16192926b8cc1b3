"""Locks that a child of a fork finds open: the threads that held them in its parent are not there."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Final, final

__all__ = ["Lock"]


@final
class Lock:
    """A lock for short changes of what threads share; the thread that holds it may take it again.

    Examples
    --------
    >>> from gradloom.locks import Lock
    >>> lock = Lock()
    >>> with lock, lock:
    ...     pass
    """

    __slots__ = ("__weakref__", "_lock")

    def __init__(self) -> None:
        self._lock = threading.RLock()
        _LOCKS.add(self)

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def after_fork(self) -> None:
        """Open it, unless the thread that forked holds it."""
        if self._lock.acquire(blocking=False):
            self._lock.release()
        else:
            self._lock = threading.RLock()


_LOCKS: Final[weakref.WeakSet[Lock]] = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(_LOCKS):
        lock.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
