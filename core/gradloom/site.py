"""Site: where an executor runs tasks, as `gradloom.explain` measures it."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, final

from gradloom.blas import one_thread_each
from gradloom.observer import Span, run_observed
from gradloom.plan import Plan
from gradloom.sharing import keep_off_this_core, kernel_threads
from gradloom.simulate import Link


class AbstractSite(ABC):
    """A plan and its inputs, where an executor runs them."""

    @abstractmethod
    def alone(self) -> tuple[float, list[float]]:
        """Run it on one core, and again step by step; return the seconds of the first run, and of each step."""

    @abstractmethod
    def at_once(self) -> float:
        """Run it twice at the same time, on one core each; return the seconds that this takes."""

    @abstractmethod
    def link(self) -> Link:
        """Return what lies between the workers."""


@final
class ThisProcess(AbstractSite):
    """The calling process.

    Parameters
    ----------
    plan : Plan
    values : sequence of arrays
        Its inputs.
    """

    def __init__(self, plan: Plan, values: Sequence[Any]) -> None:
        self._plan = plan
        self._values = values

    def alone(self) -> tuple[float, list[float]]:
        """Run it on one core; see `AbstractSite.alone`."""
        return run_alone(self._plan, self._values)

    def at_once(self) -> float:
        """Run it on two cores, in another thread too; see `AbstractSite.at_once`."""

        def run() -> None:
            on_one_core(lambda: self._plan.run(self._values))

        return seconds_of(lambda: at_once(run, run))

    def link(self) -> Link:
        """Return what lies between threads: shared memory."""
        return Link()


def run_alone(plan: Plan, values: Sequence[Any]) -> tuple[float, list[float]]:
    """Run a plan in this thread, as `AbstractSite.alone` says."""
    steps = [0.0] * len(plan.steps)

    def note(span: Span) -> None:
        steps[span.steps[0]] = span.end - span.start

    whole = seconds_of(lambda: on_one_core(lambda: plan.run(values)))
    on_one_core(lambda: run_observed(plan, values, (), note))
    return whole, steps


def on_one_core(run: Callable[[], Any]) -> None:
    """Run something whose kernels take one thread each."""
    token = kernel_threads.set(1)
    try:
        with one_thread_each():
            run()
    finally:
        kernel_threads.reset(token)


def at_once(here: Callable[[], Any], there: Callable[[], Any]) -> None:
    """Run something here, and at the same time something else in another thread, on another core."""
    other = threading.Thread(target=there)
    other.start()
    keep_off_this_core(other.native_id)
    here()
    other.join()


def seconds_of(run: Callable[[], Any]) -> float:
    """Return the seconds that a call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def add_up(steps: Sequence[float], whole: float) -> list[float]:
    """Return the least seconds of steps such that they add up to those of the whole.

    The least of each is less than they took in any run, and what passes between them counts too.
    """
    factor = whole / (sum(steps) or 1.0)
    return [factor * seconds for seconds in steps]
