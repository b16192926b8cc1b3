"""Jobs: work done once, by whichever thread comes to it first.

What takes LLVM long is begun before it is needed, and goes on in the threads of `gradloom.sharing` meanwhile. Whoever
needs the result takes over what has not begun, and waits for what has.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

from gradloom.sharing import hand_out

T = TypeVar("T")


#: Held by whoever links, and looks up what is linked.
LINKING = threading.RLock()


@final
class _Running:
    """How many jobs run in this process.

    A fork waits until none does and nobody links, since a child has no threads to bring it to an end. Meanwhile
    none begins, but for those that running ones need.
    """

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.count = 0
        #: Those that somebody will wait for, and nobody does yet; whoever waits takes part. Its values mean nothing.
        self.needed: dict[Job[Any], None] = {}
        self._forks = 0
        self._here = threading.local()

    def enter(self) -> None:
        """Count a job in this thread; the lock is held."""
        self.count += 1
        self._here.depth = getattr(self._here, "depth", 0) + 1

    def leave(self) -> None:
        """Count a job less; the lock is held."""
        self.count -= 1
        self._here.depth -= 1
        self.changed.notify_all()

    def wait_for_forks(self) -> None:
        """Let forks go first, unless one of them waits for this thread; the lock is held."""
        while self._forks and not getattr(self._here, "depth", 0):
            self.changed.wait()

    def waits_idly(self) -> Job[Any] | None:
        """Return a job to do meanwhile, if this thread, which waits for one, does none; the lock is held.

        A thread that does one could be needed for that by another.
        """
        return None if getattr(self._here, "depth", 0) else next(iter(self.needed), None)

    def before_fork(self) -> None:
        """Wait until no job runs, and let none begin."""
        self.changed.acquire()
        self._forks += 1
        while self.count:
            self.changed.wait()
        LINKING.acquire()  # which jobs take, so they go first

    def after_fork_in_parent(self) -> None:
        """Let jobs begin again."""
        self._end(self._forks - 1)

    def after_fork_in_child(self) -> None:
        """Let jobs begin; other threads that were to fork are not here."""
        self._end(0)

    def _end(self, forks: int) -> None:
        self._forks = forks
        self.changed.notify_all()
        LINKING.release()
        self.changed.release()


_running = _Running()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_running.before_fork,
        after_in_parent=_running.after_fork_in_parent,
        after_in_child=_running.after_fork_in_child,
    )


@final
class Job(Generic[T]):
    """The result of ``work()``, which is called once.

    Parameters
    ----------
    work : callable
    after : callable, optional
        ``after(result)`` is called by whoever has done the work, when others can have the result.
    """

    __slots__ = ("__weakref__", "_after", "_done", "_error", "_results", "_taken", "_work")

    def __init__(self, work: Callable[[], T], after: Callable[[T], object] | None = None) -> None:
        self._work, self._after = work, after
        self._taken = self._done = False
        self._results: list[T] = []
        self._error: Exception | None = None

    @property
    def done(self) -> bool:
        """Whether there is a result, or an error."""
        return self._done

    def begin(self, needed: bool = False) -> bool:
        """Let another thread do it, if this one may share its work; return whether one does.

        Where it is `needed` soon, threads that wait for another job may do it too.
        """
        handed_out = self._taken or hand_out(self._run)
        if needed and handed_out:
            with _running.changed:
                if not self._taken:
                    _running.needed[self] = None
        return handed_out

    def result(self) -> T:
        """Return the result, or raise what the work raised."""
        while not self._done:
            self._run()
            other = None
            with _running.changed:
                while self._taken and not self._done and other is None:
                    other = _running.waits_idly()
                    if other is None:
                        _running.changed.wait()
            if other is not None:
                other._run()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def _run(self) -> None:
        with _running.changed:
            _running.wait_for_forks()
            if self._taken:
                return
            self._taken = True
            _running.needed.pop(self, None)
            _running.enter()
        try:
            self._results.append(self._work())
            self._done = True
        except Exception as error:
            self._error = error
            self._done = True
        finally:
            with _running.changed:
                self._taken = self._done  # after an interrupt somebody else may do it
                _running.leave()
        if self._after is not None and self._error is None:
            self._after(self._results[0])
