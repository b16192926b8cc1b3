"""KeptInputs: what stays on the workers from one run to the next, by content."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any, NamedTuple, final

#: What tells an array from others; see `gradloom_dask.packing.fingerprint`.
Fingerprint = tuple[Any, ...]
#: For how many further runs an input, or an output that may become one, stays there.
KEPT_RUNS = 4


class Held(NamedTuple):
    """What stands on the workers.

    Attributes
    ----------
    future : distributed.Future
    output : int or None
        Which of several outputs of a run under the future's key it is.
    worker : str or None
        Where it was made, if it was: then it is lost with that worker.
    """

    future: Any
    output: int | None = None
    worker: str | None = None


@final
class KeptInputs:
    """Inputs that stay on the workers, by content, while runs use them."""

    def __init__(self) -> None:
        self._known: OrderedDict[Fingerprint, tuple[Held, int]] = OrderedDict()
        self._run = 0
        self._lock = threading.Lock()

    def begin_run(self) -> None:
        """Forget what the last few runs have not used."""
        with self._lock:
            self._run += 1
            while self._known and next(iter(self._known.values()))[1] < self._run - KEPT_RUNS:
                self._known.popitem(last=False)

    def get(self, array: Fingerprint) -> Held | None:
        """Return an input, None if it is not there."""
        with self._lock:
            held, _ = self._known.pop(array, (None, 0))
            if held is None or held.future.status not in ("finished", "pending"):
                return None
            self._known[array] = held, self._run
            return held

    def add(self, array: Fingerprint, held: Held) -> None:
        """Keep an input."""
        with self._lock:
            self._known[array] = held, self._run
            self._known.move_to_end(array)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()
