"""Write protection: arrays that cannot be changed while some trace counts on what they hold.

Several threads may trace functions of one array, or of an array and a view of it. The array can be written again when
the last of them is done; a view then, too, since NumPy makes no view writeable whose array is not. An interrupt may
come at any moment: who protects notes the array before it changes, and what was noted can be released as often as one
likes.
"""

from __future__ import annotations

from typing import Any, Final, final

import numpy as np

from gradloom.locks import new_lock

__all__ = ["protect", "release"]

Array = np.ndarray[Any, Any]
#: Flags of arrays: that it can be written, and that NumPy warns whoever does, or asks whether one can.
_WRITEABLE, _WARNS = 0x400, 0x80000000


@final
class _Arrays:
    """The arrays of this process that are under protection, by id: as their flags, they are seen by all threads."""

    def __init__(self) -> None:
        self._lock = new_lock()
        #: Who protects an array: the ids of their lists.
        self._holders: dict[int, tuple[int, ...]] = {}
        #: By the array that still is protected: views of it that are to be writeable again when it is.
        self._views: dict[int, list[Array]] = {}

    def protect(self, array: Array, held: list[Array]) -> None:
        """Protect an array that can be written, and later be made writeable again, for the holder of a list.

        It is added to the list, until whose `release` it cannot be written.
        """
        key = id(array)
        with self._lock:
            others = self._holders.get(key, ())
            if others or (_is_writeable(array) and self._can_be_restored(array.base)):
                held.append(array)
                self._holders[key] = (*others, id(held))
                array.flags.writeable = False

    def release(self, held: list[Array]) -> None:
        """End the protection of the arrays in a list, and empty it."""
        try:
            self._release(held)
        except BaseException:  # an interrupt
            self._release(held)
            raise

    def _release(self, held: list[Array]) -> None:
        with self._lock:
            self._restore_all(held)
        held.clear()

    def _restore_all(self, held: list[Array]) -> None:
        for array in held:
            key = id(array)
            holders = self._holders.get(key, ())
            others = tuple([holder for holder in holders if holder != id(held)])
            if others:
                self._holders[key] = others
            elif holders:
                self._restore(array)
                for view in tuple(self._views.get(key, ())):
                    self._restore(view)
                self._views.pop(key, None)
                del self._holders[key]

    def _can_be_restored(self, base: Any) -> bool:
        """Return whether NumPy will make an array of some base writeable again; not those of PyTorch, for example."""
        if base is None:
            return True
        if isinstance(base, np.ndarray):
            return bool(base.flags.num & _WRITEABLE) or id(base) in self._holders
        try:
            memory = memoryview(base)
        except TypeError:
            return False
        return memory.c_contiguous and not memory.readonly

    def _restore(self, array: Array) -> None:
        try:
            array.flags.writeable = True
        except ValueError:  # the array of which it is a view is protected still
            base = array.base
            while isinstance(base, np.ndarray):
                if id(base) in self._holders:
                    self._views.setdefault(id(base), []).append(array)
                    return
                base = base.base


def _is_writeable(array: Array) -> bool:
    return array.flags.num & (_WRITEABLE | _WARNS) == _WRITEABLE


_arrays: Final = _Arrays()

protect: Final = _arrays.protect
release: Final = _arrays.release
