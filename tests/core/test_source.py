"""What is read of a shape, as the code tells that reads it."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from gradloom.source import _constant_index, shown
from gradloom.symbolic import Guards, Symbolic

Steps = list[tuple[str, Any, str]]

#: Instructions behind that which reads an attribute, as versions of Python write them, and what they index by.
CASES: list[tuple[str, Steps, Any]] = [
    ("3.11 x[-1]", [("LOAD_CONST", -1, "-1"), ("BINARY_SUBSCR", None, "")], -1),
    ("3.14 x[0]", [("LOAD_SMALL_INT", 0, "0"), ("BINARY_OP", 26, "[]")], 0),
    ("3.14 x[1:]", [("LOAD_CONST", slice(1, None), ""), ("BINARY_OP", 26, "[]")], slice(1, None)),
    (
        "3.11 x[1:]",
        [("LOAD_CONST", 1, ""), ("LOAD_CONST", None, ""), ("BUILD_SLICE", 2, ""), ("BINARY_SUBSCR", None, "")],
        slice(1, None),
    ),
    ("3.12 x[:2]", [("LOAD_CONST", None, ""), ("LOAD_CONST", 2, ""), ("BINARY_SLICE", None, "")], slice(None, 2)),
    ("x + 1", [("LOAD_CONST", 1, ""), ("BINARY_OP", 0, "+")], None),
    ("x[k]", [("LOAD_FAST", "k", "k"), ("BINARY_SUBSCR", None, "")], None),
    ("x[True]", [("LOAD_CONST", True, ""), ("BINARY_SUBSCR", None, "")], None),
    ("2, y[0]", [("LOAD_CONST", 2, ""), ("LOAD_CONST", 0, ""), ("BINARY_SUBSCR", None, "")], None),
    ("n, d = x", [("UNPACK_SEQUENCE", 2, ""), ("STORE_FAST", "n", "n")], None),
    ("the end", [], None),
]


@pytest.mark.parametrize(("steps", "expected"), [pytest.param(steps, index, id=name) for name, steps, index in CASES])
def test_index(steps: Steps, expected: Any) -> None:
    """A constant index is found in the code of all versions of Python, and no other."""
    fakes: Any = [SimpleNamespace(opname=name, argval=value, argrepr=text) for name, value, text in steps]
    assert _constant_index(fakes) == expected


class Array:
    """An array of symbolic lengths; what it shows of them stays."""

    def __init__(self) -> None:
        self.lengths = tuple(Guards([3, 4, 5]).numbers)
        self.seen: tuple[Any, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """Return what the code that asks is to see."""
        self.seen = shown(self.lengths, sys._getframe(1))
        return self.seen


def test_only_what_is_read_is_plain() -> None:
    """What the code indexes at once is an int; where it may see more, all of it is."""
    x = Array()

    def plain() -> list[bool]:
        return [type(n) is not Symbolic for n in x.seen]

    assert x.shape[1] == 4
    assert plain() == [False, True, False]
    assert x.shape[-1] == 5
    assert plain() == [False, False, True]
    assert x.shape[1:] == (4, 5)
    assert plain() == [False, True, True]
    assert x.shape[:-1][0] == 3
    assert plain() == [True, True, False]
    k = 1
    assert x.shape[k] == 4
    assert plain() == [True, True, True]
    a, *_ = x.shape
    assert (a, plain()) == (3, [True, True, True])
    assert getattr(x, "shape")[0] == 3  # noqa: B009
    assert plain() == [True, True, True]
    with pytest.raises(IndexError):
        print(x.shape[3])
