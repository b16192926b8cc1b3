"""KeptInputs: what is sent to the workers, and stays there from one run to the next, by content."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any, NamedTuple, final

import numpy as np

from gradloom_dask.dask_graph import Ref
from gradloom_dask.packing import Aligned, fingerprint, pack

#: What tells an array from others; see `gradloom_dask.packing.fingerprint`.
Fingerprint = tuple[Any, ...]
#: For how many further runs an input, or an output that may become one, stays there.
KEPT_RUNS = 4
#: Inputs of more bytes are sent to a worker on their own, and stay there for the next runs; so do outputs that may
#: be inputs of the next run.
LARGE = 65_536
#: How many runs follow each other, and how many bytes they are sent, before the last values stand on their own again:
#: the scheduler remembers what a value on a worker was made of.
CHAIN_RUNS = 64
CHAIN_BYTES = 2**28
#: Seconds for which data waits for a worker that takes it.
SEND_SECONDS = 120.0


class Held(NamedTuple):
    """What stands on the workers.

    Attributes
    ----------
    future : distributed.Future
    output : int or None
        Which of several outputs of a run under the future's key it is.
    worker : str or None
        Where it was made, if it was: then it is lost with that worker.
    chain : float
        What part of the longest chain of runs the scheduler remembers with it.
    """

    future: Any
    output: int | None = None
    worker: str | None = None
    chain: float = 0.0


class Sent(NamedTuple):
    """Inputs as they stand in a graph, by id.

    Attributes
    ----------
    values : dict
        Small ones themselves, large ones as the key of their content.
    names : dict
        For what is one of several values under its key, which one.
    held : list of Held
        What is on the workers, and stays there while this is held.
    prints : dict
        What tells large inputs from others.
    """

    values: dict[int, Any]
    names: dict[int, int | None]
    held: list[Held]
    prints: dict[int, Fingerprint]


@final
class KeptInputs:
    """Inputs that stay on the workers, by content, while runs use them.

    Parameters
    ----------
    prefix : str
        Of their keys.
    wait : callable
        Waits for what a client does.
    """

    def __init__(self, prefix: str, wait: Callable[..., Any]) -> None:
        self._prefix = prefix
        self._wait = wait
        self._sent = itertools.count()
        self._known: OrderedDict[Fingerprint, tuple[Held, int]] = OrderedDict()
        #: Large outputs that callers still have, by identity: each with its number among those of its plan that come
        #: back, and these.
        self._given: dict[int, tuple[weakref.ref[Any], int, set[int]]] = {}
        self._run = 0
        self._lock = threading.Lock()

    def begin_run(self) -> None:
        """Forget what the last few runs have not used."""
        with self._lock:
            self._run += 1
            self._forget_unused()

    def _forget_unused(self) -> None:
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

    def note(self, array: np.ndarray[Any, Any], i: int, returning: set[int]) -> None:
        """Note that a caller is given an output; when it comes back as an input, its number is added to a set."""
        known, own = self._given, id(array)
        self._given[own] = weakref.ref(array, lambda _: known.pop(own, None)), i, returning

    def _returned(self, array: np.ndarray[Any, Any]) -> None:
        """Note that an output comes back as an input, if this is one."""
        output, i, returning = self._given.get(id(array), (None, 0, set()))
        if output is not None and output() is array:
            returning.add(i)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._known.clear()

    def send(self, client: Any, given: Mapping[int, Any]) -> Sent:
        """Send the inputs of a run that are large and not there."""
        values = {i: pack(value) for i, value in given.items()}
        names: dict[int, int | None] = {}
        prints: dict[int, Fingerprint] = {}
        kept = []
        self.begin_run()
        missing: dict[Fingerprint, tuple[str, Any]] = {}
        inprocess = client.scheduler.address.startswith("inproc")
        for i, value in given.items():
            if type(value) is Held:
                values[i], names[i] = Ref(value.future.key), value.output
                kept.append(value)
            elif type(value) is np.ndarray and value.nbytes > LARGE:
                self._returned(value)
                packed = values[i]
                array = prints[i] = fingerprint(packed)
                held = self.get(array)
                if held is not None:
                    key, names[i] = held.future.key, held.output
                    kept.append(held)
                elif array in missing:
                    key = missing[array][0]
                else:
                    key = self.new_key()
                    missing[array] = key, copied(packed) if inprocess else aligned(packed)
                values[i] = Ref(key)
        if missing:
            sent = self.scatter(client, dict(missing.values()))
            for array, (key, _) in missing.items():
                kept.append(Held(sent[key]))
                self.add(array, kept[-1])
        return Sent(values, names, kept, prints)

    def new_key(self) -> str:
        """Return a key for data that is sent."""
        return f"{self._prefix}-{next(self._sent)}"

    def scatter(self, client: Any, values: Mapping[str, Any]) -> dict[str, Any]:
        """Send data to workers; return futures by key."""
        with sending():
            scattering = client.scatter(dict(values), hash=False, timeout=SEND_SECONDS, asynchronous=True)
            sent: dict[str, Any] = self._wait(scattering)
        return sent


@contextmanager
def sending() -> Iterator[None]:
    """Turn the error of a connection to a worker that has just died into that of lost data: the run begins again."""
    try:
        yield
    except (OSError, KeyError) as error:  # a KeyError where the scheduler learns of the death before the data arrive
        raise CancelledError(f"a worker is gone that was being sent to: {error}") from error


def aligned(value: Any) -> Any:
    """Return what was packed, such that it is aligned wherever it arrives."""
    return Aligned(value) if isinstance(value, np.ndarray) else value


def copied(value: Any) -> Any:
    """Return what was packed, such that its owner cannot change it."""
    return value.copy(order="K") if isinstance(value, np.ndarray) else value
