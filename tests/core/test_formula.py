"""Tests of formulas: what follows from other numbers is what plain Python computes, by whatever way."""

from __future__ import annotations

import operator
import random
import tracemalloc
from typing import Any

import pytest

from gradloom.formula import MANY, Formula
from gradloom.symbolic import Guards, of_runs, runs

_FUNCTIONS = (operator.add, operator.add, operator.add, operator.sub, operator.neg, operator.pos, operator.mul)


def _chain(count: int, seed: int) -> tuple[list[Any], list[Any]]:
    """Return how numbers follow from three given ones: mostly sums, some products and quotients."""
    rng = random.Random(seed)
    derived: list[Any] = []

    def argument(known: int) -> Any:
        constant = rng.choice([0, 1, -3, 8, 2.5 if seed % 3 == 0 else 7])
        return (constant, type(constant)) if rng.random() < 0.2 else rng.randrange(known)

    for known in range(3, 3 + count):
        function: Any = rng.choice(_FUNCTIONS) if rng.random() < 0.95 else max
        unary = function in (operator.neg, operator.pos)
        places = (rng.randrange(known),) if unary else (argument(known), argument(known))
        if function is operator.mul and rng.random() < 0.8:
            places = (places[0], (4, int))
        derived.append((function, places))
    return [3, 40, 7], derived


def _by_hand(given: list[Any], derived: list[Any]) -> list[Any]:
    values = list(given)
    for function, places in derived:
        values.append(function(*[values[p] if type(p) is int else p[0] for p in places]))
    return values


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("count", [MANY - 1, 40, 200])
def test_values_are_those_of_python(seed: int, count: int) -> None:
    """Whatever follows from whatever: all numbers are what Python computes one by one, of the same types."""
    given, derived = _chain(count, seed)
    formula = Formula(_by_hand(given, derived), derived, {}, [])
    for others in ([5, 6, 7], [1, 1, 1], [0, -9, 2**40], [2**62, 3, 2**70]):
        found, wanted = formula.values(others), _by_hand(others, derived)
        assert found == wanted
        assert found is not None
        assert list(map(type, found)) == list(map(type, wanted))


def test_sums_that_overflow_are_exact() -> None:
    """Sums of integers near the end of 64 bits are those of Python, which have no end."""
    derived = [(operator.add, (k, k)) for k in range(MANY)]
    formula = Formula([2**k for k in range(MANY + 1)], derived, {}, [])
    for given in (2**46, 2**47, 2**48, -(2**63), 2**200):
        assert formula.values([given]) == [given << k for k in range(MANY + 1)]


def test_huge_multiples_are_exact() -> None:
    """Factors beyond 64 bits are no reason to fail."""
    derived = [(operator.mul, (0, (3**k, int))) for k in range(2 * MANY)]
    formula = Formula([3**k for k in (0, *range(2 * MANY))], derived, {}, [])
    assert formula.values([7]) == [7, *[7 * 3**k for k in range(2 * MANY)]]


def test_sums_of_many_different_numbers() -> None:
    """Thousands of numbers, added up one after the other: no table of millions of factors is made."""
    count = 3000
    derived = [(operator.add, (count + k - 1 if k else 0, k)) for k in range(count)]
    given = list(range(count))
    formula = Formula(_by_hand(given, derived), derived, {}, [])
    others = [7 * k + 1 for k in range(count)]
    assert formula.values(others) == _by_hand(others, derived)
    tracemalloc.start()
    Formula(_by_hand(given, derived), derived, {}, [])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30e6


def test_floats_add_up_one_by_one() -> None:
    """Sums of floats keep their order, on which their last digits depend."""
    guards = Guards([0.1])
    (x,) = guards.numbers
    total: Any = x
    for _ in range(3 * MANY):
        total = total + x
    value = given = 0.3
    for _ in range(3 * MANY):
        value = value + given
    found = guards.values([given])
    assert found is not None
    assert found[total.place] == value


def test_questions_about_sums_are_asked() -> None:
    """What was asked of a sum has the same answer, or there are no values."""
    guards = Guards([3])
    (n,) = guards.numbers
    total = n
    for _ in range(2 * MANY):
        total = total + n
    assert total < 1000
    assert guards.values([4]) is not None
    assert guards.values([40]) is None


def test_what_is_noted_later_counts() -> None:
    """A formula that was evaluated before something else was asked is made anew."""
    guards = Guards([3])
    (n,) = guards.numbers
    assert guards.values([4]) == [4]
    double = n + n
    assert guards.values([4]) == [4, 8]
    assert double < 10
    assert guards.values([5]) is None


def test_runs() -> None:
    """Equal neighbours are counted; symbolic numbers are equal where they are the same one."""
    assert runs([]) == []
    assert list(of_runs(runs([7, 7, 5, 7, 7, 7]))) == [(7, 2), (5, 1), (7, 3)]
    guards = Guards([4, 5])
    m, n = guards.numbers
    found = runs([m, m, n, 4, 4, m])
    assert found[1::2] == [2, 1, 2, 1]
    assert found[0] is found[6] is m
    assert guards.values([5, 5]) == [5, 5]  # nothing was asked
