"""Progress of what dask computes in this process: chunked data, lazy tensors."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Any, final

from dask.callbacks import Callback

from gradloom.observer import OBSERVER, Observer, here
from gradloom.progress import DISPLAY


@final
class Collections(Callback):  # type: ignore[misc]  # dask has no types
    """Shows the tasks of a dask graph, where the context in which it is computed asks for progress.

    dask calls it for the graphs of all threads, from first to last in the thread that computes.
    """

    def __init__(self) -> None:
        super().__init__()
        self._running: dict[int, tuple[AbstractContextManager[None], Observer]] = {}

    def _start_state(self, graph: Any, state: Any) -> None:
        display = DISPLAY.get()
        count = sum([len(state[kind]) for kind in ("ready", "waiting", "running")])
        if display is not None and count:
            shown = display.show("computing, dask", [1.0] * count, "tasks")
            shown.__enter__()
            observer = OBSERVER.get()
            if observer is not None:
                self._running[id(state)] = shown, observer

    def _posttask(self, key: Any, result: Any, graph: Any, state: Any, worker: Any) -> None:
        running = self._running.get(id(state))
        if running is not None:
            running[1](here((0,), time.perf_counter()))

    def _finish(self, graph: Any, state: Any, errored: bool) -> None:
        running = self._running.pop(id(state), None)
        if running is not None:
            running[0].__exit__(None, None, None)
