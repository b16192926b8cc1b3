"""Replies: small results that come to the client with the note that they are there.

To fetch a result, a client asks the scheduler who has it, and then that worker for it: two more ways there and back.
What is small goes with the messages by which a worker tells its scheduler, and that the client, that a task has ended.
"""

from __future__ import annotations

import pickle
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, final

from distributed import Client, Future, as_completed, get_worker

#: Results of so many bytes go with the note. A scheduler keeps the last thousand of them.
SMALL = 4_096


@final
class Replies:
    """What comes to a client with the note that it is there.

    Parameters
    ----------
    client : Client

    Attributes
    ----------
    topic : str
        Under which workers send it; see `reply`.
    """

    def __init__(self, client: Client) -> None:
        self.topic = f"gradloom-replies-{uuid.uuid4().hex[:12]}"
        #: By the keys that are waited for, what has come. In the thread of the client's loop alone.
        self._found: dict[str, bytes | None] = {}
        client.subscribe_topic(self.topic, self._take)

    def _take(self, event: tuple[float, tuple[str, bytes]]) -> None:
        key, data = event[1]
        if key in self._found:
            self._found[key] = data

    async def gather(self, client: Client, futures: Mapping[str, Future]) -> list[Any]:
        """Wait for results, and return them; those that did not come by themselves are fetched."""
        self._found.update(dict.fromkeys(futures))
        try:
            async for future in as_completed(futures.values(), loop=client.loop):
                if future.status != "finished":  # which gathering raises
                    break
            found = [data for key in futures if (data := self._found[key]) is not None]
            if len(found) == len(futures):
                return list(map(pickle.loads, found))
            fetched: list[Any] = await client.gather(list(futures.values()), asynchronous=True)
            return fetched
        finally:
            for key in futures:
                del self._found[key]


def reply(topic: str, values: Iterable[Any], result: Any) -> None:
    """Send the result of the task that runs here to whoever waits for it, if its values are small."""
    if sum([getattr(value, "nbytes", SMALL + 1) for value in values]) <= SMALL:
        worker = get_worker()
        worker.log_event(topic, (worker.get_current_task(), pickle.dumps(result)))
