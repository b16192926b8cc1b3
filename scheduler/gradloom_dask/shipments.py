"""Shipments: the plans that the workers of a client hold, each as it is cut for a number of lanes."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import uuid
import weakref
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, final

from distributed import Client

from gradloom.plan import Plan
from gradloom.tasks import Task
from gradloom_dask.kept import sending
from gradloom_dask.shipped import Shipped
from gradloom_dask.worker import PlanPlugin


@final
class Shipments:
    """The plans that the workers of a client hold; they leave the workers when they end here."""

    def __init__(self, client: Client) -> None:
        self._client = weakref.ref(client)
        self._prefix = uuid.uuid4().hex[:12]
        #: By plan, and by the number of lanes that it was cut for.
        self._plans: weakref.WeakKeyDictionary[Plan, dict[int, Shipped]] = weakref.WeakKeyDictionary()
        #: How many plans there are of each name.
        self._living: dict[str, int] = {}
        #: How these change, in order, and who does it: plans end at any moment, in any thread, so nobody waits.
        self._changes: deque[tuple[str, int]] = deque()
        self._counting = threading.Lock()
        self._lock = threading.RLock()

    def known(self, plan: Plan, lanes: int | None = None) -> Shipped | None:
        """Return a plan as it is cut for some lanes, or for any; None if it was never."""
        cuts = self._plans.get(plan, {})
        return next(iter(cuts.copy().values()), None) if lanes is None else cuts.get(lanes)

    def add(self, plan: Plan, tasks: Sequence[Task], blas: int | None, lanes: int) -> Shipped:
        """Note how to run a plan on some lanes; it travels when it first runs there."""
        whole = f"{plan.graph.content_hash()} {plan.backend.name} {[task.steps for task in tasks]}"
        name = f"gradloom-{hashlib.blake2b(whole.encode(), digest_size=12).hexdigest()}-{self._prefix}"
        shipped = Shipped(name, plan, tasks, blas)
        with self._lock:
            known = self._plans.setdefault(plan, {}).setdefault(lanes, shipped)
            if known is shipped:
                self._count(name, 1)
                # It leaves the workers with the last plan of this content.
                weakref.finalize(plan, _forget, weakref.ref(self), name).atexit = False
        return known

    def send(self, client: Client, shipped: Shipped, plan: Plan) -> None:
        """Send a plan to all workers, present and future, if it is not there."""
        with self._lock:
            if not shipped.registered:
                with sending():
                    client.register_plugin(PlanPlugin(plan, shipped.tasks), name=shipped.name)
                shipped.registered = True

    def send_again(self) -> None:
        """Let all plans be sent again: the workers may have lost them."""
        for cuts in list(self._plans.values()):
            for shipped in list(cuts.values()):
                shipped.registered = False

    def _count(self, name: str, change: int) -> None:
        """Count plans of one content; the last takes it from the workers. Never waits: who is at it does this too."""
        self._changes.append((name, change))
        while self._changes and self._counting.acquire(blocking=False):
            try:
                while self._changes:
                    name, change = self._changes.popleft()
                    living = self._living.pop(name, 0) + change
                    if living:
                        self._living[name] = living
                    else:
                        self._unregister(name)
            finally:
                self._counting.release()

    def _unregister(self, name: str) -> None:
        """Take a plan from the workers, without waiting for it."""
        client = self._client()
        if client is not None and client.status == "running":
            with suppress(RuntimeError):  # the loop has ended
                begin(client, client.scheduler.unregister_worker_plugin(name=name))


def begin(client: Client, awaitable: Any) -> Future[Any]:
    """Let a client's own thread wait for something; return what becomes of it."""
    return asyncio.run_coroutine_threadsafe(_awaited(awaitable), client.loop.asyncio_loop)


async def _awaited(value: Any) -> Any:
    return await value


def _forget(shipments: weakref.ref[Shipments], name: str) -> None:
    """Take a plan from the workers, unless another of the same content lives; without waiting for it."""
    found = shipments()
    if found is not None:
        found._count(name, -1)
