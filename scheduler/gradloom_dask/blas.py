"""The one place that limits the threads of BLAS and OpenMP libraries."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache
from typing import Any

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


def one_thread_each() -> AbstractContextManager[Any]:
    """Return a context in which BLAS and OpenMP calls take one thread each; restored after."""
    limits: AbstractContextManager[Any] = _controller().limit(limits=1)
    return limits
