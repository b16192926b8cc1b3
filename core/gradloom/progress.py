"""Progress: bars on the terminal, or in a notebook, for what takes long; only where it is asked for."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any, final

from gradloom.calibration import rates
from gradloom.observer import OBSERVER, Span
from gradloom.plan import Plan
from gradloom.tasks import step_costs

#: Seconds between two looks at what runs.
INTERVAL = 0.1
#: Runs that are estimated to take less than this part of the time from which on they are shown are not
#: followed step by step: if one takes long all the same, it is shown without how far it is.
SHORT = 0.1


@final
class Job:
    """One thing that may take long: what it is, since when, and how far it is.

    Parameters
    ----------
    what : str
    minimum : float
        Seconds after which it is shown.
    weights : sequence of float, optional
        What each step of it counts.
    unit : str, default "kernels"
        What its steps are.
    """

    def __init__(self, what: str, minimum: float, weights: Sequence[float] = (), unit: str = "kernels") -> None:
        self.what = what
        self.unit = unit
        self.shown_from = time.monotonic() + minimum
        self.total = sum(weights)
        self.steps = 0
        self.done = 0.0
        self._weights = weights
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """How many steps there are; 0 if nobody knows."""
        return len(self._weights)

    def note(self, span: Span) -> None:
        """Note steps that have run; any thread may."""
        if not span.moving:
            done = sum([self._weights[k] for k in span.steps])
            with self._lock:
                self.steps = min(self.count, self.steps + len(span.steps))
                self.done = min(self.total, self.done + done)


@final
class _Screen:
    """What draws the jobs of this process: one thread, while somebody asks for progress and something runs."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._jobs: list[Job] = []
        self._askers = 0
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._bars: Any = None
        self._ids: dict[Job, Any] = {}

    def open(self) -> None:
        """Draw from now on."""
        with self._lock:
            self._askers += 1

    def close(self) -> None:
        """Draw no longer, unless somebody else asks for it; the terminal is as before."""
        with self._lock:
            self._askers -= 1
            if self._askers or self._thread is None:
                return
            thread, ended = self._thread, self._ended
            self._thread, self._ended = None, threading.Event()
        ended.set()
        thread.join()

    def add(self, job: Job) -> None:
        """Begin to watch a job."""
        with self._lock:
            self._jobs.append(job)
            if self._thread is None and self._askers:
                self._thread = threading.Thread(
                    target=self._watch, args=(self._ended,), name="gradloom-progress", daemon=True
                )
                self._thread.start()

    def remove(self, job: Job) -> None:
        """Forget a job that has ended, however it did."""
        with self._lock:
            self._jobs.remove(job)
            if job in self._ids:
                self._draw(self._jobs)

    def after_fork(self) -> None:
        """Forget what the parent draws: it goes on there."""
        self.__init__()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(INTERVAL):
            with self._lock:
                self._draw(self._jobs)
        with self._lock:
            self._draw([])

    def _draw(self, jobs: Sequence[Job]) -> None:
        """Bring what is on the screen up to date."""
        now = time.monotonic()
        shown = [job for job in jobs if job.shown_from <= now]
        if shown and self._bars is None:
            self._bars = _bars()
            self._bars.start()
        if self._bars is None:
            return
        for job in [job for job in self._ids if job not in shown]:
            self._bars.remove_task(self._ids.pop(job))
        for job in shown:
            if job not in self._ids:
                self._ids[job] = self._bars.add_task(job.what, total=None, of="")
            if job.count > 1 and job.steps:
                of = f"{job.steps}/{job.count} {job.unit}"
                self._bars.update(self._ids[job], total=job.total, completed=job.done, of=of)
        self._bars.refresh()
        if not shown:
            self._bars.stop()
            self._bars = None


def _bars() -> Any:
    """Return bars of rich on the standard error output; they vanish when they end."""
    # Imported here: optional, and takes longer than all of gradloom.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[of]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        auto_refresh=False,
        transient=True,
        disable=not (console.is_interactive or console.is_jupyter),
    )


_SCREEN = _Screen()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_SCREEN.after_fork)


@final
class Display:
    """What `progress` asks for: that runs and phases in its context are shown after some seconds."""

    def __init__(self, minimum: float) -> None:
        self.minimum = minimum
        self._process = os.getpid()
        self._weights: weakref.WeakKeyDictionary[Plan, list[float]] = weakref.WeakKeyDictionary()

    def run(self, plan: Plan, scheduler: str) -> AbstractContextManager[None]:
        """Show a run of a plan while it lasts."""
        weights = self._weights.get(plan)
        if weights is None:
            speed = rates()
            weights = self._weights[plan] = [cost.seconds(speed) for cost in step_costs(plan)]
        followed = sum(weights) >= SHORT * self.minimum
        return self.show(f"running, {scheduler}", weights if followed else ())

    @contextmanager
    def show(self, what: str, weights: Sequence[float] = (), unit: str = "kernels") -> Iterator[None]:
        """Show something while it lasts; what else runs inside is part of it."""
        if os.getpid() != self._process:  # a fork has no screen
            yield
            return
        job = Job(what, self.minimum, weights, unit)
        outer, observer = DISPLAY.set(None), OBSERVER.set(job.note) if weights else None
        _SCREEN.add(job)
        try:
            yield
        finally:
            _SCREEN.remove(job)
            if observer is not None:
                OBSERVER.reset(observer)
            DISPLAY.reset(outer)


#: What shows runs in this context, if anything does.
DISPLAY: ContextVar[Display | None] = ContextVar("gradloom_display", default=None)


def phase(what: str) -> AbstractContextManager[None]:
    """Show something else than a run (tracing, compiling) while it lasts, where that is asked for."""
    display = DISPLAY.get()
    return nullcontext() if display is None else display.show(what)


@contextmanager
def asked(minimum: float) -> Iterator[Display]:
    """Show what takes longer than some seconds in this context."""
    display = Display(minimum)
    token = DISPLAY.set(display)
    _SCREEN.open()
    try:
        yield display
    finally:
        DISPLAY.reset(token)
        _SCREEN.close()
