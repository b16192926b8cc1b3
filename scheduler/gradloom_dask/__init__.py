"""Executors on dask's schedulers."""

from __future__ import annotations

from collections.abc import Callable

from gradloom.executor import AbstractExecutor
from gradloom.hookspecs import hookimpl

__all__ = ["gradloom_executors"]


def _threads_executor() -> AbstractExecutor:
    from gradloom_dask.threads import ThreadsExecutor

    return ThreadsExecutor()


@hookimpl
def gradloom_executors(register: Callable[[str, Callable[[], AbstractExecutor]], None]) -> None:
    """Register the executor ``threads``."""
    register("threads", _threads_executor)
