"""Write protection: arrays that cannot be changed while some trace counts on what they hold.

Several threads may trace functions of one array, or of an array and a view of it. The array can be written again when
the last of them is done; a view then, too, since NumPy makes no view writeable whose array is not.
"""

from __future__ import annotations

from collections.abc import Iterable
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
        #: How many traces protect an array.
        self._counts: dict[int, int] = {}
        #: By the array that still is protected: views of it that are to be writeable again when it is.
        self._views: dict[int, list[Array]] = {}

    def protect(self, array: Array) -> bool:
        """Protect an array that can be written, and later be made writeable again; return whether it is such a one."""
        key = id(array)
        with self._lock:
            count = self._counts.get(key, 0)
            if not count:
                flags = array.flags
                if flags.num & (_WRITEABLE | _WARNS) != _WRITEABLE or not self._can_be_restored(array.base):
                    return False
                flags.writeable = False
            self._counts[key] = count + 1
            return True

    def release(self, arrays: Iterable[Array]) -> None:
        """End one protection of each array."""
        with self._lock:
            for array in arrays:
                key = id(array)
                count = self._counts.pop(key) - 1
                if count:
                    self._counts[key] = count
                    continue
                self._restore(array)
                for view in self._views.pop(key, ()):
                    self._restore(view)

    def _can_be_restored(self, base: Any) -> bool:
        """Return whether NumPy will make an array of some base writeable again; not those of PyTorch, for example."""
        if base is None:
            return True
        if isinstance(base, np.ndarray):
            return bool(base.flags.num & _WRITEABLE) or id(base) in self._counts
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
                if id(base) in self._counts:
                    self._views.setdefault(id(base), []).append(array)
                    return
                base = base.base


_arrays: Final = _Arrays()

protect: Final = _arrays.protect
release: Final = _arrays.release
