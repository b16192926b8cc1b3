"""AbstractExecutor: what runs a plan; and the serial executor, the reference for all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, final

from gradloom.backend import backends
from gradloom.blas import one_thread_each
from gradloom.errors import DeviceError, SchedulerError
from gradloom.plan import Plan
from gradloom.registry import Registry
from gradloom.source import RawSource
from gradloom.tasks import decide


class AbstractExecutor(ABC):
    """Runs plans.

    Law, checked by `gradloom.testing`: ``run`` returns the same bits as `SerialExecutor`, and
    raises the same exception where a kernel fails. The bits of matrix products depend on how
    many threads BLAS takes, so that is decided for each plan, by `gradloom.tasks.decide`, and every
    executor follows it.
    """

    #: The executor's name.
    name: str

    def unavailable(self) -> str | None:
        """Return why the executor cannot run here, or None if it can."""
        return None

    def adapt(self, value: Any) -> AbstractExecutor | None:
        """Return an executor for something else that `gradloom.scheduler` was given (a client), or None."""
        return None

    def start(self, **options: Any) -> AbstractContextManager[AbstractExecutor]:
        """Start workers; return a context manager that gives an executor on them and ends them."""
        raise SchedulerError(
            "this scheduler has no workers to start",
            op="cluster",
            argument="scheduler",
            expected="one with workers, such as 'distributed'",
            got=self.name,
        )

    def collections(self) -> Any:
        """Return the module by which lazy tensors are collections of the executor's library, or None."""
        return None

    @abstractmethod
    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan.

        Parameters
        ----------
        plan : Plan
            What to run.
        inputs : sequence of arrays
            One array of the plan's backend per input of its graph.
        sources : sequence, optional
            Where the user wrote each node, when not as in the plan's graph.

        Returns
        -------
        list of arrays
            One per output of the plan's graph.
        """


def require_no_resources(plan: Plan, scheduler: str) -> None:
    """Raise for a plan whose ops need workers with a resource, where there are no workers."""
    if plan.resources:
        raise DeviceError(
            f"no worker has {' or '.join(sorted(plan.resources))}: the scheduler {scheduler!r} has no workers",
            op="device",
            expected=f"a backend ({', '.join(sorted(backends.entries()))}), or a cluster whose workers have it",
            got=", ".join(sorted(plan.resources)),
            remedy="run it with gl.cluster(resources={...}), or on a client whose workers were started with resources",
        )


@final
class SerialExecutor(AbstractExecutor):
    """Runs the kernels one after the other in the calling thread."""

    name = "serial"

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        require_no_resources(plan, self.name)
        if decide(plan).one_thread:
            with one_thread_each():
                return plan.run(inputs, sources)
        return plan.run(inputs, sources)


@final
class AutoExecutor(AbstractExecutor):
    """Runs branches in threads where an estimate says that it pays, and all else serially.

    Notes
    -----
    The decision is made once for each plan.
    """

    name = "auto"

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        decision = decide(plan)
        if decision.schedule is None:
            return _SERIAL.run(plan, inputs, sources)
        threads = executors.get("threads")
        return (_SERIAL if threads.unavailable() else threads).run(plan, inputs, sources)


_SERIAL = SerialExecutor()


#: All executors, by name.
executors: Registry[AbstractExecutor] = Registry("scheduler", AbstractExecutor)  # type: ignore[type-abstract]
executors.add("serial", SerialExecutor, "gradloom")
executors.add("auto", AutoExecutor, "gradloom")
