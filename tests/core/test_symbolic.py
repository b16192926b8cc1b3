"""Symbolic numbers: what follows from others, and what was asked about them."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradloom.spec import WHOLE, Spec, broadcast_shapes, sliced, taken_length
from gradloom.symbolic import Guards, Symbolic, compute, concrete, decide, settled

ARITHMETIC = [operator.add, operator.sub, operator.mul, operator.floordiv, operator.mod, operator.truediv]
QUESTIONS: list[Callable[[Any, Any], bool]] = [operator.lt, operator.le, operator.eq, operator.ne, operator.gt]
Line = tuple[int, int, int, bool]
PROGRAMS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 9), st.integers(0, 9), st.booleans()), min_size=1, max_size=12
)
NUMBERS = st.lists(st.integers(0, 9), min_size=3, max_size=3)


def interpret(program: list[Line], numbers: list[Any]) -> list[Any]:
    """Run a program that computes, asks and looks up; a line without arithmetic appends what depends on the answer."""
    values = [*numbers, 3]
    table: dict[Any, int] = {}
    for code, i, j, swapped in program:
        a, b = values[-1 - i % len(values)], values[-1 - j % len(values)]
        if code < len(ARITHMETIC):
            values.append(ARITHMETIC[code](a, b))
        elif code < len(ARITHMETIC) + len(QUESTIONS):
            answer = QUESTIONS[code - len(ARITHMETIC)](a, b)
            values.append(a if answer is not swapped else b)
        elif code == 11:  # as tables of shapes do; plain numbers and symbolic ones are not looked for in one table
            values.append(table.setdefault((operator.mul(a, numbers[0]),), len(table)))
        else:
            values.append(a if a else b)
    return values


@settings(max_examples=300)
@given(PROGRAMS, NUMBERS, NUMBERS)
def test_values_are_those_of_the_program(program: list[Line], first: list[int], second: list[int]) -> None:
    """Where the answers are the same, the program need not run again; where they are not, it is said so."""
    guards = Guards(first)
    try:
        made = interpret(program, list(guards.numbers))
    except ZeroDivisionError:
        return
    values = guards.values(first)
    assert values is not None
    assert [values[v.place] if isinstance(v, Symbolic) else v for v in made] == interpret(program, list(first))
    values = guards.values(second)
    if values is not None:
        got = [values[v.place] if isinstance(v, Symbolic) else v for v in made]
        expected = interpret(program, list(second))
        assert [(type(v), v) for v in got] == [(type(v), v) for v in expected]


@pytest.mark.parametrize(
    "ask",
    [range, float, int, operator.index, lambda n: [0] * n, lambda n: np.zeros(n), lambda n: "abcdef"[n], math.sqrt],
)
def test_who_takes_the_plain_number_gets_it_once_and_for_all(ask: Callable[[Any], Any]) -> None:
    """No way to the value leaves no trace."""
    guards = Guards([4])
    ask(guards.numbers[0])
    assert guards.values([4]) == [4]
    assert guards.values([5]) is None


def test_tables() -> None:
    """Equal numbers are found; numbers of another computation, and plain ones, are not."""
    guards, others = Guards([3, 4, 12]), Guards([3, 4, 12])
    m, n, area = guards.numbers
    table = {(m, n): "shape", area: "area"}
    assert table[m, n] == "shape"
    assert table[m * n] == "area"
    assert (3, 4) not in table
    assert tuple(others.numbers[:2]) not in table
    assert guards.values([5, 6, 30]) == [5, 6, 30, 30]
    assert guards.values([5, 6, 31]) is None  # the product would not have been found
    assert guards.values([5, 5, 25]) is None  # two numbers would have been one


def test_functions() -> None:
    """Functions of plain numbers are computed, or asked, as a whole."""
    guards = Guards([2.5, 4])
    x, n = guards.numbers
    assert compute(math.hypot, 3.0, 4.0) == 5.0
    assert decide(max, 1, 2) == 2
    root = compute(math.sqrt, n)
    assert decide(math.isfinite, x)
    assert settled(x) is x
    assert settled(root) == 2.0
    assert not isinstance(settled(root), Symbolic)
    assert guards.values([3.5, 4]) == [3.5, 4, 2.0]
    assert guards.values([math.inf, 4]) is None
    assert guards.values([2.5, 9]) is None
    assert guards.values([2.5, -1]) is None  # of which there is no root


def test_specs() -> None:
    """Specs of equal lengths are one, with plain lengths 0 and 1, and all others symbolic beside symbolic ones."""
    guards = Guards([4, 5])
    m, n = guards.numbers
    spec = Spec((m, n, 1), np.float32)
    assert spec is Spec((m, n - 0, m - 3), "float32")
    assert spec is not Spec((4, 5, 1), np.float32)
    assert type(spec.shape[2]) is int
    assert type(Spec((m, 7), np.float32).shape[1]) is Symbolic
    assert spec.nbytes == 80
    assert broadcast_shapes((m, 1), (n,)) == (4, 5)
    assert taken_length(sliced(1, n, 1, n), n) == 4
    assert taken_length(sliced(0, n, 1, n), n) is n


@given(st.lists(st.lists(st.integers(0, 3), max_size=3), min_size=1, max_size=3))
def test_broadcasting_is_that_of_numpy(shapes: list[list[int]]) -> None:
    """Shapes that fit, and shapes that do not."""
    try:
        expected: Any = np.broadcast_shapes(*map(tuple, shapes))
    except ValueError:
        with pytest.raises(ValueError, match="broadcast"):
            broadcast_shapes(*map(tuple, shapes))
    else:
        assert broadcast_shapes(*map(tuple, shapes)) == expected


@given(st.integers(0, 5), st.integers(0, 5), st.integers(-2, 2))
def test_lengths_of_slices(start: int, stop: int, step: int) -> None:
    """They are those of ranges; the entry of an axis that is taken whole is the same for all lengths."""
    if step:
        entry = sliced(start, stop, step, 5)
        assert taken_length(entry, 5) == len(range(start, stop, step))
        assert (entry == WHOLE) == ((start, stop, step) == (0, 5, 1))


def test_zeros_of_two_signs_are_two_constants() -> None:
    """What is computed with 0.0 is not taken for what -0.0 gives."""
    guards = Guards([3.0])
    x = guards.numbers[0]
    assert [math.copysign(1.0, concrete(x * zero)) for zero in (0.0, -0.0, 0)] == [1.0, -1.0, 1.0]
    numbers = guards.values([5.0])
    assert numbers is not None
    assert [math.copysign(1.0, number) for number in numbers[1:]] == [1.0, -1.0, 1.0]


def test_what_fails_for_other_numbers_is_another_case() -> None:
    """Whatever it raises."""
    guards = Guards([1])
    table = (10, 20, 30)
    assert concrete(compute(table.__getitem__, guards.numbers[0])) == 20
    assert guards.values([2]) == [2, 30]
    assert guards.values([3]) is None


@pytest.mark.parametrize("scalar", [np.float32(0.5), np.float64(3), np.int16(7)])
@pytest.mark.parametrize("f", [operator.mul, operator.sub, operator.truediv], ids=lambda f: f.__name__)
def test_scalars_of_numpy(scalar: Any, f: Callable[[Any, Any], Any]) -> None:
    """They compute with symbolic numbers on either side, in NumPy's dtypes."""
    guards = Guards([6])
    (n,) = guards.numbers
    for args in ((scalar, n), (n, scalar)):
        got, expected = f(*args), f(*map(concrete, args))
        assert type(got) is Symbolic
        assert (got.value, type(got.value)) == (expected, type(expected))
    assert np.float64(5) < n
    assert not n < np.int64(5)
    assert guards.values([7]) is not None
    assert guards.values([4]) is None


@pytest.mark.parametrize(
    "f",
    [
        np.asarray,
        lambda n: np.array([1.5, n]),
        lambda n: np.arange(8) % n,
        lambda n: n * np.ones(2, np.float32),
        lambda n: np.add.reduce([[1, 2], [3, 4]], axis=n - 5),
        np.zeros,
    ],
)
def test_arrays_ask_for_plain_numbers(f: Callable[[Any], Any]) -> None:
    """An array holds numbers; the symbolic ones in it are known to be these, and yield to dtypes as Python's do."""
    guards = Guards([6])
    (n,) = guards.numbers
    got, expected = f(n), f(6)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == expected.dtype
    assert guards.values([6]) is not None
    assert guards.values([7]) is None
