"""Observer: who is told which steps of a plan have run, where and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from gradloom.plan import Plan
from gradloom.source import RawSource


class Span(NamedTuple):
    """Steps of a plan that ran one after the other in one place.

    Attributes
    ----------
    steps : tuple of int
        Positions in ``plan.steps``.
    start, end : float
        Seconds, of one clock for all spans of a run.
    lane : str
        Which thread or worker.
    moving : bool
        Whether this is the time in which their inputs came from other workers.
    """

    steps: tuple[int, ...]
    start: float
    end: float
    lane: str
    moving: bool = False


Observer = Callable[[Span], None]
#: Who is told of the next run in this context. Runs inside a kernel of that run are not told of.
OBSERVER: ContextVar[Observer | None] = ContextVar("gradloom_observer", default=None)


def run_observed(
    plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None], observer: Observer
) -> list[Any]:
    """Run a plan in this thread, step by step, and tell of each."""
    values: dict[int, Any] = {**plan.constants, **dict(zip(plan.graph.inputs, inputs, strict=True))}
    token = OBSERVER.set(None)
    try:
        for k, step in enumerate(plan.steps):
            start = time.perf_counter()
            plan.run_step(k, values, sources)
            observer(here((k,), start))
            for i in step.drop:
                del values[i]
    finally:
        OBSERVER.reset(token)
    return [values[i] for i in plan.outputs]


def here(steps: tuple[int, ...], start: float) -> Span:
    """Return the span of steps that end now, in this thread."""
    return Span(steps, start, time.perf_counter(), threading.current_thread().name)
