"""AbstractExecutor: what runs a plan; and the serial executor, the reference for all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, final

from gradloom.backend import backends
from gradloom.blas import one_thread_each
from gradloom.decision import decide
from gradloom.errors import DeviceError, SchedulerError
from gradloom.observer import OBSERVER, run_observed
from gradloom.placement import first_location
from gradloom.plan import Plan
from gradloom.registry import Registry
from gradloom.source import RawSource
from gradloom.tasks import Task

if TYPE_CHECKING:
    from gradloom.site import AbstractSite


class AbstractExecutor(ABC):
    """Runs plans.

    Law, checked by `gradloom.testing`: ``run`` returns the same bits as `SerialExecutor`, and
    raises the same exception where a kernel fails. The bits of matrix products depend on how
    many threads BLAS takes, so that is decided for each plan, by `gradloom.decision.decide`, and every
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
            remedy=f"gl.cluster(...) starts those of 'distributed'; gl.scheduler({self.name!r}) needs none",
        )

    def remote_workers(self) -> AbstractWorkers | None:
        """Return the workers that can keep values from one run to the next; None if there are none."""
        return None

    def collections(self) -> Any:
        """Return the module by which lazy tensors are collections of the executor's library, or None."""
        return None

    def shown(self) -> AbstractContextManager[None]:
        """Return a context in which `gradloom.progress` shows also what the executor's library computes on its own."""
        return nullcontext()

    def tasks(self, plan: Plan) -> Sequence[Task]:
        """Return the tasks that a plan is run as; by default one."""
        return [Task(tuple(range(len(plan.steps))), (), 0.0)]

    def lanes(self) -> int:
        """Return how many tasks run at once; by default one."""
        return 1

    def site(self, plan: Plan, inputs: Sequence[Any]) -> AbstractSite | None:
        """Return where a plan runs, for `gradloom.explain` to measure; by default None: in this process."""
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

        Notes
        -----
        `gradloom.observer.OBSERVER` names whom to tell which steps ran where and when, if anybody.
        """


class AbstractWorkers(ABC):
    """Workers that keep values: persisted lazy tensors stand for these.

    What stands for a value has its ``spec``, and a method ``result()`` that returns the value, once it is computed, or
    raises what its computation raised.
    """

    @abstractmethod
    def holds(self, value: Any) -> Any:
        """Return what stands for a value that these workers keep, given that or a future; None for anything else."""

    @abstractmethod
    def send(self, value: Any) -> Any:
        """Send an array or number that nobody changes; return what stands for it."""

    @abstractmethod
    def begin(self, plan: Plan, inputs: Sequence[Any]) -> Sequence[Any]:
        """Begin to run a plan, and return what stands for each output.

        Parameters
        ----------
        plan : Plan
            What to run.
        inputs : sequence
            Arrays, and what stands for values that these workers keep.

        Returns
        -------
        sequence
            The values have the bits that `AbstractExecutor.run` gives.
        """


def require_no_resources(plan: Plan, scheduler: str, sources: Sequence[RawSource | None] = ()) -> None:
    """Raise for a plan whose ops need workers with a resource, where there are no workers."""
    if plan.resources:
        raise DeviceError(
            f"no worker has {' or '.join(sorted(plan.resources))}: the scheduler {scheduler!r} has no workers",
            op="device",
            expected=f"a backend ({', '.join(sorted(backends.entries()))}), or a cluster whose workers have it",
            got=", ".join(sorted(plan.resources)),
            remedy="run it with gl.cluster(resources={...}), or on a client whose workers were started with resources",
            location=first_location(plan.graph, plan.resources, sources),
        )


@final
class SerialExecutor(AbstractExecutor):
    """Runs the kernels one after the other in the calling thread."""

    name = "serial"

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        require_no_resources(plan, self.name, sources)
        one_thread, observer = decide(plan).one_thread, OBSERVER.get()
        if observer is None and not one_thread:
            return plan.run(inputs, sources)
        with one_thread_each() if one_thread else nullcontext():
            return plan.run(inputs, sources) if observer is None else run_observed(plan, inputs, sources, observer)


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
        return self._chosen(plan).run(plan, inputs, sources)

    def tasks(self, plan: Plan) -> Sequence[Task]:
        """Return the tasks that a plan is run as."""
        return self._chosen(plan).tasks(plan)

    def lanes(self) -> int:
        """Return how many tasks run at once where that pays."""
        threads = executors.get("threads") if "threads" in executors.entries() else _SERIAL
        return (_SERIAL if threads.unavailable() else threads).lanes()

    def _chosen(self, plan: Plan) -> AbstractExecutor:
        """Return the executor of a plan."""
        if decide(plan).schedule is None:
            return _SERIAL
        threads = executors.get("threads")
        return _SERIAL if threads.unavailable() else threads


_SERIAL = SerialExecutor()


#: All executors, by name.
executors: Registry[AbstractExecutor] = Registry("scheduler", AbstractExecutor)  # type: ignore[type-abstract]
executors.add("serial", SerialExecutor, "gradloom")
executors.add("auto", AutoExecutor, "gradloom")
