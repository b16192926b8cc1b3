"""Generated: functions from Python text; equal text is compiled once, whatever its names stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from types import CodeType, FunctionType
from typing import Any

#: Characters of the longest text whose code is kept.
LONGEST = 100_000


def function(lines: Sequence[str], namespace: dict[str, Any]) -> Callable[..., Any]:
    """Return the function that some lines define, the first of which is its head.

    Parameters
    ----------
    lines : sequence of str
    namespace : dict
        What the names in it stand for. What differs from one function to the next belongs here, not in the text.
    """
    return bound(code(lines), namespace)


def code(lines: Sequence[str]) -> CodeType:
    """Return the code of the function that some lines define."""
    text = "\n".join(lines)
    return _known_code(text) if len(text) <= LONGEST else _code(text)


def bound(own: CodeType, namespace: dict[str, Any]) -> Callable[..., Any]:
    """Return the function of some code, in a namespace."""
    # Its own copy: Python adapts code to the names it meets.
    return FunctionType(own.replace(), namespace)


def _code(text: str) -> CodeType:
    found: CodeType = compile(text, "<gradloom>", "exec").co_consts[0]
    return found


_known_code = lru_cache(maxsize=128)(_code)
