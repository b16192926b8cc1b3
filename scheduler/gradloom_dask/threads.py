"""ThreadsExecutor: independent branches of a plan side by side, in threads."""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar, copy_context
from typing import Any, final

from gradloom.blas import one_thread_each
from gradloom.cost import Cost
from gradloom.decision import decide
from gradloom.executor import AbstractExecutor, SerialExecutor, require_no_resources
from gradloom.observer import OBSERVER
from gradloom.packages import installed
from gradloom.plan import Plan
from gradloom.schedule import Failures, Schedule
from gradloom.sharing import cores, keep_off_this_core, kernel_threads
from gradloom.source import RawSource
from gradloom.tasks import Task, cut, step_costs

#: Whether this thread runs a task.
_INSIDE: ContextVar[bool] = ContextVar("gradloom_inside_task", default=False)
_SERIAL = SerialExecutor()
#: What dask's configuration calls a scheduler that runs all in the calling thread, for whoever looks for faults.
_ONE_THREAD = frozenset({"sync", "synchronous", "single-threaded"})


def inside_worker() -> bool:
    """Return whether this thread runs a task of a distributed worker."""
    module = sys.modules.get("distributed.worker")
    return module is not None and getattr(module.thread_state, "execution_state", None) is not None


@final
class ThreadsExecutor(AbstractExecutor):
    """Runs independent branches side by side where an estimate says that it pays.

    Parameters
    ----------
    workers : int, optional
        Number of threads; by default dask's configuration ``num_workers``, or as many as
        there are cores that this process may use.
    always : bool, default False
        Whether to run in threads also where the estimate speaks against it.

    Notes
    -----
    Tasks are cut from the plan once. While branches run, BLAS takes one thread a call.
    """

    name = "threads"

    def __init__(self, workers: int | None = None, always: bool = False) -> None:
        self.workers = workers
        self.always = always
        self._schedules: weakref.WeakKeyDictionary[Plan, Schedule] = weakref.WeakKeyDictionary()
        self._own: tuple[tuple[int, int], _Pool] | None = None
        self._lock = threading.Lock()

    def unavailable(self) -> str | None:
        """Return which package is missing, and how to install it."""
        missing = [name for name in ("dask", "threadpoolctl") if not installed(name)]
        return f"{' and '.join(missing)} not installed; pip install 'gradloom[dask]'" if missing else None

    def collections(self) -> Any:
        """Return the module that makes lazy tensors dask collections."""
        from gradloom_dask import collection

        return collection

    def shown(self) -> AbstractContextManager[None]:
        """Return a context in which dask's collections are shown too, if dask is in use."""
        if "dask" not in sys.modules:
            return nullcontext()
        from gradloom_dask.local_progress import Collections

        return Collections()

    def tasks(self, plan: Plan) -> Sequence[Task]:
        """Return the tasks that a plan is run as."""
        schedule = self._always(plan) if self.always else decide(plan).schedule
        return _SERIAL.tasks(plan) if schedule is None else schedule.tasks

    def lanes(self) -> int:
        """Return how many threads there are."""
        return self._pool()[1]

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        require_no_resources(plan, self.name, sources)
        decision = decide(plan)
        schedule = self._always(plan) if self.always else decision.schedule
        with one_thread_each() if decision.one_thread else nullcontext():
            # Inside a task all threads are taken already.
            if schedule is None or _INSIDE.get() or inside_worker():
                return _SERIAL.run(plan, inputs, sources)
            return _Run(schedule, plan, inputs, sources, *self._pool()).finish()

    def _always(self, plan: Plan) -> Schedule:
        """Return the tasks of a plan whatever they cost; found once."""
        with self._lock:
            if plan not in self._schedules:
                self._schedules[plan] = Schedule(plan, cut(plan, list(map(Cost.seconds, step_costs(plan)))))
            return self._schedules[plan]

    def _pool(self) -> tuple[ThreadPoolExecutor, int]:
        """Return dask's configured pool or an own one, made anew in a forked process; and how many threads to take."""
        import dask.config  # optional

        configured = dask.config.get("pool", None)
        alone = dask.config.get("scheduler", None) in _ONE_THREAD
        workers = 1 if alone else self.workers or dask.config.get("num_workers", None) or cores()
        if isinstance(configured, ThreadPoolExecutor) and not alone:
            return configured, dask.config.get("num_workers", None) or configured._max_workers
        with self._lock:
            key = os.getpid(), workers
            if self._own is None or self._own[0] != key:
                if self._own is not None and self._own[0][0] == os.getpid():
                    self._own[1].shutdown(wait=False)
                self._own = key, _Pool(workers)
            return self._own[1], workers


@final
class _Pool(ThreadPoolExecutor):
    """Threads that wake on other cores than the one of the thread that gives them work."""

    def __init__(self, workers: int) -> None:
        self._natives: list[int] = []
        super().__init__(workers, "gradloom", lambda: self._natives.append(threading.get_native_id()))

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        """Let a thread call something."""
        if self._max_workers <= cores():
            for native in self._natives:
                keep_off_this_core(native)
        return super().submit(*args, **kwargs)


@final
class _Run:
    """One run of a plan's tasks.

    The calling thread takes tasks as the helpers in the pool do; so a run ends also where all of those have other work.
    """

    def __init__(
        self,
        schedule: Schedule,
        plan: Plan,
        inputs: Sequence[Any],
        sources: Sequence[RawSource | None],
        pool: ThreadPoolExecutor,
        threads: int,
    ) -> None:
        self.schedule = schedule
        self.pool = pool
        self.threads = threads
        self.plan = plan
        self.sources = sources
        self.failures = Failures()
        self.observer = OBSERVER.get()
        self._values: dict[int, Any] = dict(plan.constants)
        self._values.update(zip(plan.graph.inputs, inputs, strict=True))
        self._readers = dict(schedule.readers)
        self._waiting = [len(task.after) for task in schedule.tasks]
        self._ready = schedule.agenda(threads)
        self._running = 0
        self._stopped = False
        self._changed = threading.Condition()

    def finish(self) -> list[Any]:
        """Run all tasks in this thread and some of the pool, and return the plan's outputs."""
        helpers = []
        try:
            for _ in range(min(self.threads, len(self.schedule.tasks)) - 1):
                helpers.append(self.pool.submit(copy_context().run, self._work))
            copy_context().run(self._work)
        except BaseException:
            self._stop()  # an interrupt: no further kernel starts, and those that run are waited for
            raise
        finally:
            for helper in helpers:
                # One that has not begun, because all threads are busy, is not waited for.
                if not helper.cancel():
                    helper.result()
        if self.failures.error is not None:
            raise self.failures.error
        return [self._values[i] for i in self.plan.outputs]

    def _work(self) -> None:
        """Run tasks until none is left."""
        _INSIDE.set(True)
        OBSERVER.set(None)
        kernel_threads.set(1)
        t = self._next()
        while t is not None:
            try:
                exports = self.schedule.run_task(
                    self.plan, t, self._values, self.failures, self.sources, observer=self.observer
                )
            except BaseException:
                self._stop()
                raise
            self._end(t, exports)
            t = self._next()

    def _next(self) -> int | None:
        """Return a task that can start, when there is one; None when all have ended."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or not self._running or self._stopped)
            if self._stopped or not self._ready:
                return None
            self._running += 1
            return self._ready.take()

    def _end(self, t: int, exports: dict[int, Any]) -> None:
        """Note that a task has ended: others may start, and values that nobody needs any more go."""
        schedule = self.schedule
        with self._changed:
            self._values.update(exports)
            for i in schedule.imports[t]:
                if i in self._readers:
                    self._readers[i] -= 1
                    if not self._readers[i]:
                        self._values.pop(i, None)
            for other in schedule.followers[t]:
                self._waiting[other] -= 1
                if not self._waiting[other]:
                    self._ready.add(other)
            self._running -= 1
            self._changed.notify_all()

    def _stop(self) -> None:
        """Let no further kernel start."""
        self.failures.stop()
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
