"""Locks that a child of a fork finds open: the threads that held them in its parent are not there."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Any, Final

__all__ = ["new_lock"]

_LOCKS: Final[weakref.WeakSet[Any]] = weakref.WeakSet()


def new_lock() -> threading.RLock:
    """Return a lock for short changes of what threads share; the thread that holds it may take it again.

    It is Python's own: between taking or opening it and what comes next in ``with``, no interrupt can arrive. What is
    done while it is held stands without loops or comprehensions there, but in functions: from Python 3.12 on a jump
    back in them may be outside of what ``with`` guards, and an interrupt that comes right then leaves the lock closed.

    Examples
    --------
    >>> from gradloom.locks import new_lock
    >>> lock = new_lock()
    >>> with lock, lock:
    ...     pass
    """
    lock = threading.RLock()
    _LOCKS.add(lock)
    return lock


def _after_fork() -> None:
    """Open those that the thread that forked does not hold."""
    for lock in list(_LOCKS):
        if lock.acquire(blocking=False):
            lock.release()
        else:
            lock._at_fork_reinit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
