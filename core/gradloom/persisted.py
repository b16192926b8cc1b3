"""Persisted tensors: lazy tensors whose values are on workers, go into compiled functions, and come out of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gradloom.backend import spec_of
from gradloom.context import EXECUTOR
from gradloom.executor import AbstractWorkers
from gradloom.graph import INPUT
from gradloom.lazy import Kept, LazyTensor, graph_and_values, persisted
from gradloom.program import Program, choose_backend, prepare
from gradloom.trace import Handle


def chosen_workers() -> AbstractWorkers | None:
    """Return the workers of the scheduler that was chosen, if it has such as keep values."""
    executor = EXECUTOR.get()
    return None if executor is None else executor.remote_workers()


def with_futures(leaves: list[Any]) -> list[Any]:
    """Return arguments in which futures of the chosen scheduler's workers are persisted tensors."""
    unknown = [n for n, leaf in enumerate(leaves) if not isinstance(leaf, Handle) and spec_of(leaf) is None]
    workers = chosen_workers() if unknown else None
    if workers is not None:
        leaves = list(leaves)
        for n in unknown:
            there = workers.holds(leaves[n])
            if there is not None:
                leaves[n] = persisted(there, there.spec)
    return leaves


def run_on_workers(program: Program, values: Sequence[Any]) -> list[Any] | None:
    """Begin a run whose results stay on the workers, if some inputs are there; None if not.

    Parameters
    ----------
    program : Program
    values : sequence
        One per input.

    Returns
    -------
    list of LazyTensor or None
        Persisted tensors. None also where tensors among the values are of another kind: then the run is recorded.
    """
    if not any([type(value) is LazyTensor for value in values]):
        return None
    workers = chosen_workers()
    if workers is None:
        return None
    inputs = [_there(workers, value) if isinstance(value, Handle) else value for value in values]
    if any([value is None for value in inputs]) or choose_backend(inputs) != "numpy":
        return None
    plan = program.plan("numpy")
    return [persisted(there, there.spec) for there in workers.begin(plan, prepare(plan, inputs))]


def _there(workers: AbstractWorkers, tensor: Handle) -> Any:
    """Return what stands for a tensor's value on some workers; None if it is not there."""
    node = tensor._index
    kept = type(tensor) is LazyTensor and node.op is INPUT and type(node.value) is Kept
    return workers.holds(node.value.future) if kept else None


def persist(workers: AbstractWorkers, tensors: Sequence[LazyTensor]) -> list[LazyTensor]:
    """Return tensors whose values are on workers, or will be."""
    graph, values = graph_and_values(tensors)
    inputs = []
    for value in values:
        if type(value) is Kept:
            # What other workers keep comes here first.
            there = workers.holds(value.future) or workers.send(value.future.result())
        else:
            there = workers.send(value)
        inputs.append(there)
    return [persisted(there, there.spec) for there in workers.begin(Program(graph).plan("numpy"), inputs)]
