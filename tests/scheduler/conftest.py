"""Clusters of worker processes, and a watchdog: a test that hangs has failed."""

from __future__ import annotations

import faulthandler
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import gradloom as gl

#: Seconds after which a test of a cluster is ended, with the stacks of all threads.
WATCHDOG = 300


@pytest.fixture(autouse=True)
def _watchdog() -> Iterator[None]:
    faulthandler.dump_traceback_later(WATCHDOG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@contextmanager
def always_cluster(**options: Any) -> Iterator[Any]:
    """Start workers, and give an executor that sends even the smallest plan to them."""
    with gl.cluster(**options) as executor:
        executor.always = True  # type: ignore[attr-defined]
        with gl.scheduler("serial"):
            yield executor


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Two worker processes for all tests of a module."""
    with always_cluster(n_workers=2) as executor:
        yield executor
