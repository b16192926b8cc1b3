"""Source: where in the user's code an operation was written."""

from __future__ import annotations

import dis
import itertools
import operator
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, lru_cache
from types import CodeType
from typing import Any, NamedTuple, final

#: A `Source` as it is stored, a plain tuple.
RawSource = tuple[CodeType | str, int, int]

_GRADLOOM = os.path.dirname(os.path.abspath(__file__)) + os.sep
#: How the names of modules begin that pass the user's calls on; plugins of this project among them.
_LIBRARIES = ("numpy.", "scipy.", "dask.", "contextlib", "gradloom_")
#: Files seen to be the user's own, and to be gradloom's or a library's; only ever added to.
USER_FILES: set[str] = set()
_LIBRARY_FILES: set[str] = set()


class Source(NamedTuple):
    """A place in the user's code; resolved to a line only when asked.

    ``origin`` is -1 for what the user wrote, else the id of the node that this one is the
    derivative of.
    """

    code: CodeType | str
    offset: int
    origin: int = -1

    @property
    def derived(self) -> bool:
        """True for nodes that a gradient rule added."""
        return self.origin >= 0

    @property
    def filename(self) -> str:
        """The user's file."""
        return self.code if isinstance(self.code, str) else self.code.co_filename

    @property
    def line(self) -> int:
        """The user's line number, 0 if unknown."""
        if isinstance(self.code, str):
            return self.offset
        for start, end, line in self.code.co_lines():
            if start <= self.offset < end and line is not None:
                return line
        return self.code.co_firstlineno

    def __str__(self) -> str:
        return f"{self.filename}:{self.line}"


@final
class Lines(Sequence[RawSource | None]):
    """Where the user wrote the nodes of a plan, found out when somebody asks, which only errors do.

    Parameters
    ----------
    find : callable
        Returns one source for each node.
    """

    def __init__(self, find: Callable[[], Sequence[RawSource | None]]) -> None:
        self._find = find

    @cached_property
    def _found(self) -> Sequence[RawSource | None]:
        return self._find()

    def __len__(self) -> int:
        return len(self._found)

    def __getitem__(self, i: Any) -> Any:
        return self._found[i]


def same_lines(a: Sequence[RawSource | None], b: Sequence[RawSource | None]) -> bool:
    """Return whether nodes were written on the same lines; offsets vary a little with how often Python ran the code."""
    if a == b:
        return True
    for x, y in zip(a, b, strict=True):
        if x != y and (
            x is None or y is None or x[0] is not y[0] or x[2] != y[2] or Source(*x).line != Source(*y).line
        ):
            return False
    return True


def moved_lines(
    before: Iterable[RawSource | None], now: Iterable[RawSource | None]
) -> dict[tuple[int, int], tuple[CodeType | str, int]] | None:
    """Return where each place in the code has moved, given the places of the same nodes before and now.

    A place's key is the identity of its code, and the offset. None where one line would have to become two.
    """
    found: dict[tuple[int, int], tuple[CodeType | str, int]] = {}
    for old, new in zip(before, now, strict=True):
        if old is None or new is None:
            if old is not new:
                return None
        else:
            known = found.setdefault((id(old[0]), old[1]), new[:2])
            if old[2] != new[2] or not same_lines([(*known, -1)], [(*new[:2], -1)]):
                return None
    return found


def user_source(frame: Any = None) -> RawSource | None:
    """Return where the innermost frame outside gradloom and the libraries stands, from ``frame`` outward."""
    if frame is None:
        frame = sys._getframe(1)
    while frame is not None:
        code = frame.f_code
        filename = code.co_filename
        if filename in USER_FILES:
            return code, frame.f_lasti, -1
        if filename not in _LIBRARY_FILES:
            module = frame.f_globals.get("__name__", "")
            library = filename.startswith(_GRADLOOM) or module.startswith(_LIBRARIES)
            (_LIBRARY_FILES if library else USER_FILES).add(filename)
            continue
        frame = frame.f_back
    return None


def shown(lengths: tuple[Any, ...], frame: Any) -> tuple[Any, ...]:
    """Return symbolic lengths as the code of a frame is to see them: as they are in gradloom's own, else plain ints.

    Where the code indexes them at once, as in ``x.shape[-1]``, it sees no others.
    """
    if frame.f_code.co_filename.startswith(_GRADLOOM):
        return lengths
    index = _indices_of_shapes(frame.f_code).get(frame.f_lasti, slice(None))
    places = range(len(lengths))
    seen = places[index] if type(index) is slice else (index % max(len(lengths), 1),)
    return tuple([operator.index(n) if k in seen else n for k, n in enumerate(lengths)])


@lru_cache(maxsize=256)
def _indices_of_shapes(code: CodeType) -> dict[int, Any]:
    """Return the constants that the attribute ``shape`` is indexed by, by all places of what reads it."""
    found = {}
    steps = list(dis.get_instructions(code))
    for k, step in enumerate(steps[:-1]):
        index = _constant_index(steps[k + 1 :]) if step.opname == "LOAD_ATTR" and step.argval == "shape" else None
        if index is not None:
            found.update(dict.fromkeys(range(step.offset, steps[k + 1].offset), index))
    return found


def _constant_index(steps: Sequence[dis.Instruction]) -> Any:
    """Return the integer or slice that the next instructions index by, None if that is not what they do."""
    constants: list[Any] = []
    for step in steps:
        if step.opname in ("LOAD_CONST", "LOAD_SMALL_INT"):
            constants.append(step.argval)
        elif step.opname == "BUILD_SLICE":
            constants = [slice(*constants)]
        elif step.opname == "BINARY_SLICE":
            return slice(*constants)
        elif step.opname == "BINARY_SUBSCR" or (step.opname == "BINARY_OP" and step.argrepr == "[]"):
            return constants[0] if len(constants) == 1 and type(constants[0]) in (int, slice) else None
        else:
            return None
    return None


def called_function() -> str | None:
    """Return the public name of the library function that the user has called, if it is written in Python."""
    found = None
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename not in USER_FILES:
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_qualname
        if module.startswith(_LIBRARIES[:3]) and "<" not in name:  # a wrapper has the name of what it wraps inside
            library = module.partition(".")[0]
            if not hasattr(sys.modules[library], name.partition(".")[0]):
                library = ".".join(itertools.takewhile(lambda part: part[0] != "_", module.split(".")))
            found = f"{library}.{name}"
        frame = frame.f_back
    return found


def user_location() -> str | None:
    """Return the user's ``file:line``."""
    source = user_source()
    return None if source is None else str(Source(*source))
