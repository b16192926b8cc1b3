"""The one place that knows how dask writes a task graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from dask._task_spec import List, Task, TaskRef


class Call(NamedTuple):
    """A call as a task: ``function(*args, values, others)``.

    Attributes
    ----------
    function : callable
        Known by name on every worker.
    args : tuple
        What it takes first, as it stands.
    values : sequence
        Data, or `Ref` of a key.
    others : sequence of str
        Keys of the tasks whose results it takes last.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    values: Sequence[Any] = ()
    others: Sequence[str] = ()


class Ref(NamedTuple):
    """Stands for the data of a key."""

    key: Any


def task_graph(calls: Mapping[Any, Call]) -> dict[Any, Any]:
    """Return calls by key as a graph for a dask scheduler."""
    return {
        key: Task(
            key,
            call.function,
            *call.args,
            List(*[TaskRef(v.key) if type(v) is Ref else v for v in call.values]),
            List(*[TaskRef(other) for other in call.others]),
        )
        for key, call in calls.items()
    }


def arguments_of(task: Any, function: Callable[..., Any]) -> tuple[tuple[Any, ...], list[str]] | None:
    """Return what a `Call` of a function was made with, data by key; None for another task."""
    if not isinstance(task, Task) or task.func is not function:
        return None
    *args, values, _ = task.args
    return tuple(args), [ref.key for ref in values]
