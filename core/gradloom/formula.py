"""Formula: what was noted of symbolic numbers, as it is quickly evaluated for others."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import numpy as np

#: From how many sums on they are evaluated together, which takes as long as some thirty one by one.
MANY = 48

#: How many factors there are, at most; beyond that they would take more memory than they save time.
MOST = 2**17

#: A function, and for each argument the place of a number, or ``(constant,)``.
Noted = tuple[Callable[..., Any], tuple[Any, ...]]
#: A number's place, what computes it, and where its arguments stand: two places, or None and all of them.
_Line = tuple[int, Callable[..., Any], int | None, Any]


@final
class Formula:
    """Numbers that follow from given ones, and questions about them, whose answers must stay.

    Parameters
    ----------
    numbers : sequence
        The values of all numbers, the given ones first.
    derived : sequence
        How each of the others is computed, of those before it.
    asked : mapping
        What was asked, and the answers.
    apart : sequence of int
        The places of numbers that must not be equal.

    Examples
    --------
    >>> import operator
    >>> from gradloom.formula import Formula
    >>> formula = Formula([3, 4, 12], [(operator.mul, (0, 1))], {(operator.lt, (0, 1)): True}, [])
    >>> formula.values([5, 7]), formula.values([7, 5])
    ([5, 7, 35], None)
    """

    def __init__(
        self, numbers: Sequence[Any], derived: Sequence[Noted], asked: Mapping[Noted, Any], apart: Sequence[int]
    ) -> None:
        self._count = len(numbers)
        #: How much it holds.
        self.size = len(numbers) + len(asked)
        #: They stand behind the numbers in one list.
        self._constants: list[Any] = []
        self._apart = _column(apart)
        first = self._count - len(derived)
        sums = _Sums(numbers, derived)
        lines: list[_Line] = [
            (first + k, function, *(own if len(own := self._places(places)) == 2 else (None, own)))
            for k, (function, places) in enumerate(derived)
        ]
        self._lines = [line for line in lines if line[0] not in sums.places]
        self._sums = sums
        self._each_sum = [line for line in lines if line[0] in sums.places]
        questions: dict[Any, list[Any]] = {}
        for (function, places), answer in asked.items():
            questions.setdefault((function, len(places)), []).append((self._places(places), answer))
        #: What was asked, all questions of one function at once: what takes each argument from the values; the answers.
        self._asked = [
            (function, list(map(_column, zip(*[places for places, _ in rows], strict=True))), [a for _, a in rows])
            for (function, _), rows in questions.items()
        ]

    def _places(self, places: tuple[Any, ...]) -> tuple[int, ...]:
        found = []
        for place in places:
            if type(place) is not int:
                self._constants.append(place[0])
                place = self._count + len(self._constants) - 1
            found.append(place)
        return tuple(found)

    def values(self, given: Sequence[Any]) -> list[Any] | None:
        """Return what all numbers are for given ones; None where an answer would be another one."""
        values = [*given, *[None] * (self._count - len(given)), *self._constants]
        try:
            _evaluate(self._lines, values)
            if not self._sums.evaluate(values):
                _evaluate(self._each_sum, values)
            for function, columns, answers in self._asked:
                if list(map(function, *[column(values) for column in columns])) != answers:
                    return None
        except Exception:  # what fails for these numbers did not for those
            return None
        apart = self._apart(values)
        del values[self._count :]
        return values if len(set(apart)) == len(apart) else None


def _column(places: Sequence[int]) -> Callable[[list[Any]], Sequence[Any]]:
    """Return what takes the values at some places."""
    if len(places) > 1:
        return operator.itemgetter(*places)
    return lambda values: [values[place] for place in places]


def _evaluate(lines: list[_Line], values: list[Any]) -> None:
    for k, function, i, j in lines:
        values[k] = function(*[values[n] for n in j]) if i is None else function(values[i], values[j])


@final
class _Sums:
    """The integers that are sums of multiples of other numbers, and that none but such follow from.

    Where hundreds of values lie in one block, most numbers are of this kind; they are the product of a matrix with
    the others.
    """

    def __init__(self, numbers: Sequence[Any], derived: Sequence[Noted]) -> None:
        terms = _terms(numbers, derived)
        most = max([sum(map(abs, own.values())) for own in terms.values()], default=1)
        #: Up to here no sum overflows.
        self._most = np.iinfo(np.int64).max // max(most, 1)
        column = {k: n for n, k in enumerate(sorted({k for own in terms.values() for k in own}))}
        if len(terms) < MANY or len(terms) * len(column) > MOST or not self._most:
            terms, column = {}, {}
        #: They stand in this order, and are sums of these.
        self.places = dict.fromkeys(terms)
        self._of = list(column)
        self._factors = np.zeros((len(terms), len(column)), np.int64)
        for row, own in enumerate(terms.values()):
            for k, factor in own.items():
                self._factors[row, column[k]] = factor

    def evaluate(self, values: list[Any]) -> bool:
        """Write the sums into the list of all values; return False where they may overflow, or are no integers now."""
        if not self.places:
            return True
        of = [1 if k < 0 else values[k] for k in self._of]
        if {*map(type, of)} != {int} or max(map(abs, of)) > self._most:
            return False
        for place, value in zip(self.places, (self._factors @ np.array(of, np.int64)).tolist(), strict=True):
            values[place] = value
        return True


#: Where a sum's constant stands among its terms.
_ONE = -1


def _terms(numbers: Sequence[Any], derived: Sequence[Noted]) -> dict[int, dict[int, int]]:
    """Return the integers that are sums, with the factor of each number in them.

    None of these is a sum itself, and but sums nothing follows from one. Where there are too many, none is returned.
    """
    first = len(numbers) - len(derived)
    found: dict[int, dict[int, int]] = {}
    for place, (function, arguments) in enumerate(derived, first):
        read = [numbers[a] if type(a) is int else a[0] for a in arguments]
        if all([type(n) is int for n in read]) and _is_sum(function, arguments):
            found[place] = {}
    for place, (_, arguments) in reversed(list(enumerate(derived, first))):
        if place not in found:
            for a in arguments:
                found.pop(a, None)
    count = 0
    for place in found:
        function, arguments = derived[place - first]
        parts = [found.get(a, {a: 1}) if type(a) is int else {_ONE: a[0]} for a in arguments]
        found[place] = _combined(function, *parts)
        count += len(found[place])
        if count > MOST:
            return {}
    return found


def _is_sum(function: Callable[..., Any], arguments: tuple[Any, ...]) -> bool:
    return function in _SIGNS or (function is operator.mul and any([type(a) is not int for a in arguments]))


#: What is added, and what is subtracted.
_SIGNS = {operator.add: (1, 1), operator.sub: (1, -1), operator.neg: (-1,), operator.pos: (1,)}


def _combined(function: Callable[..., Any], *parts: dict[int, int]) -> dict[int, int]:
    """Return the terms of a sum, difference or multiple."""
    if function is operator.mul:
        a, b = parts
        (factor,), own = (b.values(), a) if b.keys() == {_ONE} else (a.values(), b)
        return {k: factor * n for k, n in own.items()}
    found: dict[int, int] = {}
    for part, sign in zip(parts, _SIGNS[function], strict=True):
        for k, n in part.items():
            found[k] = found.get(k, 0) + sign * n
    return found
