"""Decision: whether a plan runs in tasks side by side or step by step, and with how many threads BLAS."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from gradloom.blas import can_limit
from gradloom.calibration import is_measured, rates
from gradloom.cost import DECOMPOSITIONS, PRODUCTS, Cost, node_cost
from gradloom.plan import Plan
from gradloom.schedule import Schedule
from gradloom.sharing import cores
from gradloom.tasks import TASK_SECONDS, Task, best_cut, longest_path, makespan, step_costs

T = TypeVar("T")
_OF_BLAS = frozenset({*PRODUCTS, *DECOMPOSITIONS})

#: Plans with more steps are not cut.
MAX_STEPS = 20_000
#: A plan is cut where that is estimated to take at most this part of the time of running it step by step.
WORTHWHILE = 0.85
#: What does not pay for some sizes does not for sizes up to so many times as large.
NEAR = 1.25
#: Plans estimated to take less are not worth a closer look.
TINY_SECONDS = 2 * TASK_SECONDS


@final
@dataclass(frozen=True)
class Decision:
    """How a plan is best run on this machine; the same for every executor, as its bits depend on it.

    Attributes
    ----------
    schedule : Schedule or None
        Tasks to run side by side; None where that does not pay.
    one_thread : bool
        Whether BLAS takes one thread a call while the plan runs, because it has products that
        BLAS would share out; their kernels do that themselves (`gradloom.sharing`).
    """

    schedule: Schedule | None
    one_thread: bool


_AS_IT_IS = Decision(None, False)


def decide(plan: Plan) -> Decision:
    """Return how to run a plan: in branches, with BLAS at one thread, or step by step; found once.

    For its first run no machine is measured, which takes longer than many runs: it goes step by step. So it does where
    a plan of other sizes did, and later ones where those were no smaller: to estimate what its steps take may take
    longer than the run.
    """
    found: Decision | None = plan.schedule
    if found is None:
        found, final = _decide(plan)
        if final:
            plan.schedule = found
    return found


def _decide(plan: Plan) -> tuple[Decision, bool]:
    """Return how to run a plan, and whether that stays so when the machine is measured."""
    workers = max(cores(), len(plan.devices))
    if plan.backend.name != "numpy" and not plan.devices:  # the rates are of NumPy's kernels
        return _AS_IT_IS, True
    if not can_limit():
        return _AS_IT_IS, True
    if len(plan.graph) > MAX_STEPS or workers < 2:
        return Decision(None, _has_large_products(plan)), True
    if plan.outline.working < 2 and not _steps_of(plan, PRODUCTS):
        return _AS_IT_IS, True
    step_by_step = Decision(None, _has_large_products(plan))
    sizes = [spec.size for spec in plan.graph.input_specs()]
    found = {} if plan.graph.pattern is None else plan.graph.pattern.found
    others = found.get(decide)  # of one that runs step by step
    if others is not None and (not plan.has_run or all([n <= NEAR * m for n, m in zip(sizes, others, strict=True)])):
        return step_by_step, plan.has_run
    costs = step_costs(plan)
    is_tiny = sum(_of_each(costs, Cost.seconds)) < TINY_SECONDS
    if not (is_tiny or plan.has_run or is_measured()):
        return step_by_step, False
    tasks = None if is_tiny else _worthwhile_tasks(plan, costs, workers)
    if tasks is None:
        found[decide] = sizes
        return step_by_step, True
    return Decision(Schedule(plan, tasks), step_by_step.one_thread), True


def _worthwhile_tasks(plan: Plan, costs: Sequence[Cost], workers: int) -> Sequence[Task] | None:
    """Return the tasks of a plan, None where to run them side by side does not pay."""
    speed = rates()
    seconds = _of_each(costs, lambda cost: cost.seconds(speed))
    worthwhile = WORTHWHILE * sum(_of_each(costs, lambda cost: cost.shared_seconds(speed, workers)))
    if longest_path(plan, seconds) + TASK_SECONDS > worthwhile:  # whatever the cut
        return None
    tasks = best_cut(plan, seconds, workers)
    return None if makespan(tasks, workers) > worthwhile else tasks


def _of_each(costs: Sequence[Cost], measure: Callable[[Cost], T]) -> list[T]:
    """Return a measure of each cost; most steps share theirs with others."""
    ids = list(map(id, costs))
    known = {i: measure(cost) for i, cost in dict(zip(ids, costs, strict=True)).items()}
    return list(map(known.__getitem__, ids))


def _steps_of(plan: Plan, names: Collection[str]) -> list[int]:
    """Return a node of each kind that runs, of those of some ops."""
    return [i for i in plan.outline.examples.values() if plan.graph.raw_node(i)[0].name in names]


def _has_large_products(plan: Plan) -> bool:
    """Return whether BLAS would share out one of a plan's steps."""
    return any([plan.leaves_to_backend(i) and node_cost(plan.graph, i).threaded for i in _steps_of(plan, _OF_BLAS)])
