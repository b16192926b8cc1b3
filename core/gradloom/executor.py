"""AbstractExecutor: what runs a plan; and the serial executor, the reference for all others."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

from gradloom.plan import Plan
from gradloom.registry import Registry
from gradloom.source import RawSource


class AbstractExecutor(ABC):
    """Runs plans.

    Law, checked by `gradloom.testing`: ``run`` returns the same bits as `SerialExecutor`
    (where BLAS takes the same number of threads), and raises the same exception where a kernel
    fails.
    """

    #: The executor's name.
    name: str

    def unavailable(self) -> str | None:
        """Return why the executor cannot run here, or None if it can."""
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


@final
class SerialExecutor(AbstractExecutor):
    """Runs the kernels one after the other in the calling thread."""

    name = "serial"

    def run(self, plan: Plan, inputs: Sequence[Any], sources: Sequence[RawSource | None] = ()) -> list[Any]:
        """Run a plan; see `AbstractExecutor.run`."""
        return plan.run(inputs, sources)


#: All executors, by name.
executors: Registry[AbstractExecutor] = Registry("scheduler", AbstractExecutor)  # type: ignore[type-abstract]
executors.add("serial", SerialExecutor, "gradloom")
