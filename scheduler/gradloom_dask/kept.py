"""KeptInputs: what stays on the workers from one run to the next, by content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, final

#: For how many further runs an input, or an output that may become one, stays there.
KEPT_RUNS = 4


@final
class KeptInputs:
    """Futures of inputs that stay on the workers, by content, while runs use them."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[Any, str | None, int]] = OrderedDict()
        self._run = 0
        self._lock = threading.Lock()

    def begin_run(self) -> None:
        """Forget what the last few runs have not used."""
        with self._lock:
            self._run += 1
            while self._known and next(iter(self._known.values()))[2] < self._run - KEPT_RUNS:
                self._known.popitem(last=False)

    def get(self, content_hash: str) -> tuple[Any, str | None]:
        """Return the future of an input, None if it is not there; and its name if it is one of several."""
        with self._lock:
            future, name, _ = self._known.pop(content_hash, (None, None, 0))
            if future is None or future.status not in ("finished", "pending"):
                return None, None
            self._known[content_hash] = future, name, self._run
            return future, name

    def add(self, content_hash: str, future: Any, name: str | None = None) -> None:
        """Keep an input."""
        with self._lock:
            self._known[content_hash] = future, name, self._run
            self._known.move_to_end(content_hash)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()
