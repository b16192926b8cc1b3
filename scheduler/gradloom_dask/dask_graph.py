"""The one place that knows how dask writes a task graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, final

import dask
import dask.array
from dask._expr import LLGExpr
from dask._task_spec import List, Task, TaskRef
from dask.blockwise import fuse_roots, optimize_blockwise
from dask.core import flatten
from dask.delayed import single_key
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer


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


def named_graph(name: str, calls: Mapping[Any, Call]) -> Any:
    """Return calls by key as a graph for a client, under a name of its own: dask would hash all that is in it."""
    return LLGExpr(task_graph(calls), _determ_token=name)


def layer_of(tasks: Mapping[Any, Any], needs: Mapping[Any, Mapping[str, float]]) -> Any:
    """Return tasks as a layer of a graph, some of which need resources of workers, by key."""
    if not needs:
        return tasks
    return MaterializedLayer(tasks, annotations={**dask.get_annotations(), "resources": dict(needs).get})


def layer_graph(name: str, tasks: Mapping[Any, Any], needs: Mapping[Any, Mapping[str, float]]) -> Any:
    """Return tasks as a graph, some of which need resources of workers, by key."""
    return HighLevelGraph({name: layer_of(tasks, needs)}, {name: set()}) if needs else tasks


@final
class Whole(dask.array.Array):  # type: ignore[misc]  # dask has no types
    """A dask array of one chunk, which nobody else holds: it is given to its user as it is.

    Of other arrays dask makes a task that copies the result, and one that stands for it; on a cluster each link
    of a chain takes milliseconds. Arrays that are computed from one, or persisted, are none of these.
    """

    __slots__ = ()

    def __dask_postcompute__(self) -> Any:
        """Return what dask knows as nothing to do."""
        return single_key, ()


@final
class Placed(dask.array.Array):  # type: ignore[misc]  # dask has no types
    """A dask array whose tasks need resources of workers.

    What a task needs stands with its key, so they are not fused, as those of other arrays are. Arrays that are
    computed from one are none of these.
    """

    __slots__ = ()

    @staticmethod
    def __dask_optimize__(graph: Any, keys: Any, **options: Any) -> Any:
        """Leave out what is not needed."""
        wanted = list(flatten(keys))
        graph = graph if isinstance(graph, HighLevelGraph) else HighLevelGraph.merge(graph)
        return fuse_roots(optimize_blockwise(graph, keys=wanted), keys=wanted).cull(set(wanted))


def arguments_of(task: Any, function: Callable[..., Any]) -> tuple[tuple[Any, ...], list[str]] | None:
    """Return what a `Call` of a function was made with, data by key; None for another task."""
    if not isinstance(task, Task) or task.func is not function:
        return None
    *args, values, _ = task.args
    return tuple(args), [ref.key for ref in values]
