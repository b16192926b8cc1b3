"""What was found last, by what it was found for: a bounded memory that threads share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar, final

from gradloom.locks import new_lock

__all__ = ["Recent"]

T = TypeVar("T")


@final
class Recent(Generic[T]):
    """A bounded memory; what came first goes first.

    Parameters
    ----------
    most : int
        How many results are remembered.

    Examples
    --------
    >>> from gradloom.recent import Recent
    >>> squares: Recent[int] = Recent(most=1)
    >>> squares.get(3, lambda: 9), squares.get(3, lambda: 10), squares.get(4, lambda: 16), squares.get(3, lambda: 11)
    (9, 9, 16, 11)
    """

    __slots__ = ("_found", "_lock", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._found: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = new_lock()

    def get(self, key: Hashable, find: Callable[[], T]) -> T:
        """Return what was found for a key, or find it; two threads may both find it."""
        with self._lock:
            found = self._found.get(key)
        if found is None:
            found = find()
            with self._lock:
                self._found[key] = found
                if len(self._found) > self._most:
                    self._found.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._found.clear()
