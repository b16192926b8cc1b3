"""Executors on dask's schedulers."""

from __future__ import annotations

from collections.abc import Callable

from gradloom.backend import AbstractBackend
from gradloom.executor import AbstractExecutor
from gradloom.hookspecs import hookimpl

__all__ = ["gradloom_backends", "gradloom_executors"]


def __dir__() -> list[str]:
    """Return the hooks alone: pluggy takes long to look at each name."""
    return __all__


def _threads_executor() -> AbstractExecutor:
    from gradloom_dask.threads import ThreadsExecutor

    return ThreadsExecutor()


def _distributed_executor() -> AbstractExecutor:
    from gradloom_dask.cluster import DistributedExecutor

    return DistributedExecutor()


def _dask_backend() -> AbstractBackend:
    from gradloom_dask.backend import DaskBackend

    return DaskBackend()


@hookimpl
def gradloom_backends(register: Callable[[str, Callable[[], AbstractBackend]], None]) -> None:
    """Register the backend ``dask``, of chunked arrays."""
    register("dask", _dask_backend)


@hookimpl
def gradloom_executors(register: Callable[[str, Callable[[], AbstractExecutor]], None]) -> None:
    """Register the executors ``threads`` and ``distributed``."""
    register("threads", _threads_executor)
    register("distributed", _distributed_executor)
