"""Observing a run on a cluster: which tasks have ended there, as its scheduler keeps note of."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, final

from gradloom.observer import Observer, Span
from gradloom.tasks import Task

#: Seconds between two looks, and by which the clocks of client and scheduler may differ.
INTERVAL = 0.2
CLOCKS_DIFFER = 60.0


@final
class TaskStream:
    """Tells an observer of the tasks of one run on a client's cluster.

    Parameters
    ----------
    client : distributed.Client
    prefix : str
        Of the keys of the run's tasks.
    tasks : sequence of Task
    observer : callable
    """

    def __init__(self, client: Any, prefix: str, tasks: Sequence[Task], observer: Observer) -> None:
        self._client = client
        self._prefix = prefix
        self._tasks = tasks
        self._observer = observer
        self._known: set[str] = set()
        self._threads: dict[str, list[int]] = {}
        self._since = time.time() - CLOCKS_DIFFER

    async def during(self, results: Any) -> Any:
        """Wait for results, and tell of tasks as they end, on whichever worker."""
        await self._look()  # the scheduler keeps note from now on
        waiting = asyncio.ensure_future(results)
        try:
            while not (await asyncio.wait({waiting}, timeout=INTERVAL))[0]:
                await self._look()
            await self._look()
        finally:
            waiting.cancel()
        return await waiting

    async def _look(self) -> None:
        try:
            messages = await self._client.scheduler.get_task_stream(start=self._since, stop=None, count=None)
        except OSError:  # whoever waits for the results hears of a lost scheduler
            return
        for message in messages:
            key = str(message["key"])
            number = key.removeprefix(f"{self._prefix}-")
            if number == key or not number.isdigit() or key in self._known:
                continue
            self._known.add(key)
            steps = self._tasks[int(number)].steps
            lane = self._lane(message["worker"], message["thread"])
            for part in message["startstops"]:
                if part["action"] in ("compute", "transfer"):
                    moving = part["action"] == "transfer"
                    self._observer(Span(steps, part["start"], part["stop"], lane, moving))

    def _lane(self, address: str, thread: int) -> str:
        """Return the name of a thread of a worker: its address, and a number from the second one on."""
        threads = self._threads.setdefault(address, [])
        if thread not in threads:
            threads.append(thread)
        number = threads.index(thread)
        return address.rpartition("//")[2] + (f" thread {number + 1}" if number else "")
