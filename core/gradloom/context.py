"""Context: the backend and the scheduler chosen with ``with``, per thread and per task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any

from gradloom.backend import backends
from gradloom.errors import ArgumentError, BackendError, MissingPackageError
from gradloom.executor import AbstractExecutor, AutoExecutor, executors
from gradloom.packages import installed
from gradloom.placement import PLACE, place_name
from gradloom.plan import Plan
from gradloom.progress import DISPLAY, asked
from gradloom.refusals import describe
from gradloom.registry import Registry
from gradloom.source import RawSource

#: The backend that was chosen, if any.
BACKEND: ContextVar[str | None] = ContextVar("gradloom_backend", default=None)
#: The executor that was chosen, if any.
EXECUTOR: ContextVar[AbstractExecutor | None] = ContextVar("gradloom_executor", default=None)
_AUTO = AutoExecutor()


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

    See Also
    --------
    device : Let a part of a function run on one device.

    Notes
    -----
    Inputs of another kind are copied to the backend at each run, and its arrays come back. It counts in this thread
    (and asyncio task) until the block ends; blocks nest, and the inner one counts.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> with gl.backend("numpy"):
    ...     gl.grad(np.sin)(0.0)
    np.float64(1.0)
    """
    require_backend(name)
    token = BACKEND.set(name)
    try:
        yield
    finally:
        BACKEND.reset(token)


@contextmanager
def device(*names: str | None) -> Iterator[None]:
    """Let the ops that are recorded inside run on one device, or on workers that have a resource.

    Parameters
    ----------
    *names : str or None
        A device, ``"backend"`` or ``"backend:index"`` (``"cupy:1"``); a resource of workers, ``"GPU"`` or
        ``"GPU=2"``; several devices, over which the branches inside are spread; or None, for where the run
        itself takes place.

    Raises
    ------
    DeviceError
        If a name is none of these. A device or resource that there is not raises when what was recorded is
        to run, before anything runs.

    Notes
    -----
    Values are copied where they cross the borders of the block, by the ops ``to_device`` and ``to_worker``.
    Gradients are computed where their values were. Blocks nest, and the inner one counts.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> def f(x):
    ...     with gl.device("numpy:0"):
    ...         y = np.sin(x)
    ...     return y * 2.0
    >>> gl.grad(f)(0.0)
    np.float64(2.0)
    """
    token = PLACE.set(place_name(names))
    try:
        yield
    finally:
        PLACE.reset(token)


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
    name : str, distributed.Client or AbstractExecutor
        Name of an installed executor (``"serial"``, ``"auto"``, ``"threads"``,
        ``"distributed"``), a client of a dask cluster, or an executor.

    Raises
    ------
    BackendError
        If the scheduler is unknown or cannot run here.
    SchedulerError
        If the workers of a client cannot be used.
    ArgumentError
        If it is none of these.

    See Also
    --------
    cluster : Start workers on this machine.
    explain : See into which tasks a run is cut, and what they take.

    Notes
    -----
    Every executor gives the same bits. It counts in this thread (and asyncio task) until the block ends; blocks nest,
    and the inner one counts. ``"auto"``, which also counts where there is no block, runs branches side by side only
    where an estimate says that it pays.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> with gl.scheduler("serial"):
    ...     gl.grad(np.sin)(0.0)
    np.float64(1.0)
    """
    token = EXECUTOR.set(_executor(name))
    try:
        yield
    finally:
        EXECUTOR.reset(token)


def _executor(name: Any) -> AbstractExecutor:
    """Return the executor that a name, a client or an executor stands for."""
    executor: AbstractExecutor | None
    if isinstance(name, AbstractExecutor):
        executor = name
    elif isinstance(name, str):
        executor = executors.get(name)
    else:
        candidates = [other for other in executors if other.unavailable() is None]
        executor = next((found for other in candidates if (found := other.adapt(name)) is not None), None)
        if executor is None:
            raise ArgumentError(
                "no scheduler takes a value of this kind",
                op="scheduler",
                argument="name",
                expected=f"one of {sorted(executors.entries())}, a distributed.Client or an executor",
                got=describe(name),
                remedy="pass such a name, or install what the executor needs (`python -m gradloom doctor` lists it)",
            )
    reason = executor.unavailable()
    if reason is not None:
        raise _unavailable("scheduler", executor.name, reason, executors)
    return executor


@contextmanager
def cluster(
    n_workers: int | None = None,
    threads_per_worker: int = 1,
    memory_limit: Any = "auto",
    resources: Any = None,
    **options: Any,
) -> Iterator[AbstractExecutor]:
    """Start workers on this machine, run everything inside on them, and end them after.

    Parameters
    ----------
    n_workers : int, optional
        Number of worker processes; by default one for each core.
    threads_per_worker : int, default 1
        How many tasks each runs at once.
    memory_limit : int or str, default "auto"
        Bytes for each worker (``"1GiB"``), above which it keeps data on disk and in the end starts anew.
    resources : mapping or list of mapping, optional
        What each worker has for `gradloom.device` to ask for, ``{"GPU": 1}``; a list gives each worker its own.
    **options
        Further options of ``distributed.LocalCluster``.

    Yields
    ------
    AbstractExecutor
        For `gradloom.scheduler` and `gradloom.jit`.

    Raises
    ------
    BackendError
        If distributed is not installed.
    ArgumentError
        If ``resources`` is a list of another length than ``n_workers``.

    See Also
    --------
    scheduler : Run on a cluster that is there.

    Notes
    -----
    Scheduler, workers and dashboards listen on the loopback device only. Worker processes import the main
    script, so a script must start them under ``if __name__ == "__main__":``.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> with gl.cluster(n_workers=2):  # doctest: +SKIP
    ...     gl.grad(lambda x: np.sum(x**2))(np.ones(3))
    array([2., 2., 2.])
    """
    executor = _executor("distributed")
    started = executor.start(
        n_workers=n_workers,
        threads_per_worker=threads_per_worker,
        memory_limit=memory_limit,
        resources=resources,
        **options,
    )
    with started as workers, scheduler(workers):
        yield workers


@contextmanager
def progress(minimum: float = 1.0) -> Iterator[None]:
    """Show how far runs are that take long, while they do.

    Parameters
    ----------
    minimum : float, default 1.0
        Seconds after which something is shown.

    Raises
    ------
    MissingPackageError
        If rich is not installed.
    ArgumentError
        If ``minimum`` is negative.

    Notes
    -----
    Bars stand on the standard error output, if that is a terminal, or in the notebook, and vanish when what they show
    has ended. Tracing and compiling are shown too, and whatever dask computes in this process. In worker processes
    nothing is shown. Runs that are followed are run kernel by kernel, which takes about a microsecond each.

    Examples
    --------
    >>> import numpy as np
    >>> import gradloom as gl
    >>> with gl.progress():
    ...     gl.grad(np.sin)(0.0)
    np.float64(1.0)
    """
    if not installed("rich"):
        raise MissingPackageError(
            "a package is missing",
            op="progress",
            argument="package",
            expected="rich, which draws the bars",
            got="not installed",
            remedy="pip install 'gradloom[progress]'",
        )
    if not minimum >= 0.0:
        raise ArgumentError(
            "minimum is out of range",
            op="progress",
            argument="minimum",
            expected="0 seconds or more",
            got=minimum,
            remedy="leave it out for one second, or pass 0.0 to show all runs",
        )
    with ExitStack() as stack:
        stack.enter_context(asked(minimum))
        for executor in executors:
            if executor.unavailable() is None:
                stack.enter_context(executor.shown())
        yield


def execute(plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
    """Run a plan by the chosen executor, and show how far it is where that is asked for."""
    executor, display = current_executor(), DISPLAY.get()
    if display is None:
        return executor.run(plan, inputs, sources)
    with display.run(plan, executor.name):
        return executor.run(plan, inputs, sources)


def current_backend() -> str | None:
    """Return the backend chosen with `backend`, or None."""
    return BACKEND.get()


def current_executor() -> AbstractExecutor:
    """Return the executor chosen with `scheduler`, or the one that decides."""
    return EXECUTOR.get() or _AUTO
