"""Symbolic: numbers that remember where they come from, and what was asked about them.

What is done with a graph hardly ever depends on its sizes: `gradloom.polymorphic` does it once, with symbolic
numbers for sizes and literals, and for other numbers evaluates the result anew, provided that all that was asked
about them has the same answer.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any, final

import numpy as np

from gradloom.ahead import pacemaker
from gradloom.formula import Formula, Noted

__all__ = [
    "Guards",
    "Symbolic",
    "compute",
    "concrete",
    "decide",
    "index",
    "is_settled",
    "lengths",
    "of_runs",
    "runs",
    "settled",
    "total",
]

_PLAIN = (int, float, np.generic)
_COMPARISONS = frozenset({np.equal, np.not_equal, np.less, np.less_equal, np.greater, np.greater_equal})
#: Answers that `Guards.values` never compares equal.
_NONE = object()
_COUNT = itertools.count(1)
#: The absolute values of numbers that rules look out for.
_SPECIAL = frozenset({0.0, 0.5, 1.0, 2.0})


@final
class Guards:
    """The symbolic numbers of one computation: the given ones, how others follow from them, and what was asked.

    Parameters
    ----------
    given : sequence of int and float

    Examples
    --------
    >>> from gradloom.symbolic import Guards
    >>> guards = Guards([3, 4])
    >>> m, n = guards.numbers
    >>> area, wide = m * n, m < n
    >>> guards.values([5, 7]), guards.values([7, 5])
    ([5, 7, 35], None)
    """

    def __init__(self, given: Sequence[Any]) -> None:
        #: All symbolic numbers, the given ones first.
        self.numbers: list[Symbolic] = []
        #: How each of the others is computed: a function, and for each argument a number's place, or ``(constant,)``.
        self._derived: list[Noted] = []
        #: What was asked, and the answer.
        self.asked: dict[Noted, Any] = {}
        self._known: dict[Any, Symbolic] = {}
        #: Where hashes begin.
        self.hashes = next(_COUNT) << 32
        self._formula: Formula | None = None
        #: By value, those that tables look up by hash; there no two of them are equal.
        self._hashed: dict[Any, Symbolic] = {}
        self._pause = pacemaker()
        for value in given:
            self._add(value)

    def _add(self, value: Any) -> Symbolic:
        new = Symbolic(self, len(self.numbers), value)
        self.numbers.append(new)
        return new

    def compute(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Symbolic:
        """Return the result of a function, a number, as a symbolic one."""
        key = function, tuple([_place(a) for a in args])
        found = self._known.get(key)
        if found is None:
            if self._pause is not None:
                self._pause()
            self._derived.append(key)
            found = self._known[key] = self._add(function(*map(concrete, args)))
        return found

    def decide(self, function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
        """Return the result of a function, and take note of it."""
        key = function, tuple([_place(a) for a in args])
        answer = self.asked.get(key, _NONE)
        if answer is _NONE:
            if self._pause is not None:
                self._pause()
            answer = self.asked[key] = function(*map(concrete, args))
        return answer

    def hashed(self, number: Symbolic) -> Symbolic:
        """Return the number that stands for all equal ones where tables look them up."""
        found = self._hashed.setdefault(number.value, number)
        if found is not number:
            self.decide(operator.eq, (found, number))
        return found

    def length(self, n: Any) -> Any:
        """Return the length of an axis beside symbolic ones: symbolic too, but for 0 and 1."""
        if type(n) is Symbolic:
            return n if n > 1 else int(n)
        return self.compute(operator.pos, (int(n),)) if n > 1 else int(n)

    def values(self, given: Sequence[Any]) -> list[Any] | None:
        """Return what all numbers are for other given ones; None where an answer would be another one."""
        formula = self._formula
        if formula is None or formula.size != len(self.numbers) + len(self.asked):
            apart = [number.place for number in self._hashed.values()]
            formula = self._formula = Formula(list(map(concrete, self.numbers)), self._derived, self.asked, apart)
        return formula.values(given)


def _place(argument: Any) -> Any:
    if type(argument) is Symbolic:
        return argument.place
    # Of equal constants of two types, or zeros of two signs, results may differ.
    return argument, type(argument) if argument else repr(argument)


def _computed(function: Callable[..., Any], reflected: bool = False) -> Any:
    def method(self: Symbolic, other: Any) -> Any:
        if type(other) is not Symbolic and not isinstance(other, _PLAIN):
            return NotImplemented
        return self.guards.compute(function, (other, self) if reflected else (self, other))

    return method


def _decided(function: Callable[..., Any]) -> Any:
    def method(self: Symbolic, other: Any) -> Any:
        if type(other) is not Symbolic and not isinstance(other, _PLAIN):
            return NotImplemented
        # As `Guards.decide`, which takes twice as long.
        key = function, (self.place, _place(other))
        answer = self.guards.asked.get(key, _NONE)
        return self.guards.decide(function, (self, other)) if answer is _NONE else answer

    return method


_equal = _decided(operator.eq)


@final
class Symbolic:
    """A number that remembers where it comes from.

    It computes as its value does, and compares as that does, which is taken note of. Where Python or NumPy ask for the
    plain number, the answer is taken note of as well: then it can be no other one.
    """

    __slots__ = ("guards", "place", "value")

    def __init__(self, guards: Guards, place: int, value: Any) -> None:
        self.guards = guards
        self.place = place
        self.value = value

    __add__, __radd__ = _computed(operator.add), _computed(operator.add, True)
    __sub__, __rsub__ = _computed(operator.sub), _computed(operator.sub, True)
    __mul__, __rmul__ = _computed(operator.mul), _computed(operator.mul, True)
    __truediv__, __rtruediv__ = _computed(operator.truediv), _computed(operator.truediv, True)
    __floordiv__, __rfloordiv__ = _computed(operator.floordiv), _computed(operator.floordiv, True)
    __mod__, __rmod__ = _computed(operator.mod), _computed(operator.mod, True)
    __pow__, __rpow__ = _computed(operator.pow), _computed(operator.pow, True)
    __lt__, __le__ = _decided(operator.lt), _decided(operator.le)
    __gt__, __ge__ = _decided(operator.gt), _decided(operator.ge)

    def __eq__(self, other: object) -> Any:
        if self is other:
            return True
        if type(other) is Symbolic and other.guards is not self.guards:
            return False
        return _equal(self, other)

    def __hash__(self) -> int:
        # Not that of its value: in tables that outlive a computation it is to find nothing of plain numbers.
        return self.guards.hashes + self.guards.hashed(self).place

    def __neg__(self) -> Any:
        return self.guards.compute(operator.neg, (self,))

    def __abs__(self) -> Any:
        return self.guards.compute(operator.abs, (self,))

    def __bool__(self) -> bool:
        return bool(self.guards.decide(bool, (self,)))

    def __index__(self) -> int:
        return operator.index(self.plain())

    def __int__(self) -> int:
        return int(self.plain())

    def __float__(self) -> float:
        return float(self.plain())

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        own = (np.ndarray.__array_ufunc__, Symbolic.__array_ufunc__)
        if any([getattr(type(x), "__array_ufunc__", own[0]) not in own for x in inputs]):
            return NotImplemented
        # NumPy makes 0-d arrays of its scalars. What is in other arrays depends on the plain number.
        numbers = tuple([x[()] if isinstance(x, np.ndarray) and not x.ndim else x for x in inputs])
        if method == "__call__" and not kwargs and all([isinstance(x, (Symbolic, *_PLAIN)) for x in numbers]):
            return (self.guards.decide if ufunc in _COMPARISONS else self.guards.compute)(ufunc, numbers)
        return getattr(ufunc, method)(*[x.plain() if type(x) is Symbolic else x for x in inputs], **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        return np.array(self.plain(), dtype)

    def plain(self) -> Any:
        """Return its value, which it then always has."""
        self.guards.decide(operator.pos, (self,))
        return self.value

    def __repr__(self) -> str:
        return f"Symbolic({self.value!r})"


def concrete(value: Any) -> Any:
    """Return the value of a symbolic number, of which no note is taken; anything else as it is."""
    return value.value if type(value) is Symbolic else value


def compute(function: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a function of plain numbers, which is symbolic where one of them is.

    Examples
    --------
    >>> import math
    >>> from gradloom.symbolic import Guards, compute
    >>> compute(math.sqrt, 9.0), compute(math.sqrt, *Guards([4.0]).numbers)
    (3.0, Symbolic(2.0))
    """
    for a in args:
        if type(a) is Symbolic:
            return a.guards.compute(function, args)
    return function(*args)


def index(value: Any) -> Any:
    """Return an integer, as `operator.index` does; a symbolic one as it is."""
    return value if type(value) is Symbolic else operator.index(value)


def lengths(shape: Sequence[Any]) -> tuple[Any, ...]:
    """Return the lengths of axes, all of them symbolic where one is, but for 0 and 1."""
    plain = type(shape) is tuple
    for n in shape:
        if type(n) is Symbolic:
            return tuple([n.guards.length(m) for m in shape])
        if type(n) is not int:
            plain = False
    return shape if plain else tuple([int(n) for n in shape])  # type: ignore[return-value]


def total(numbers: Sequence[Any]) -> Any:
    """Return the sum of integers; a symbolic one that stands there several times is added once, as its multiple.

    Examples
    --------
    >>> from gradloom.symbolic import Guards, total
    >>> guards = Guards([3])
    >>> (n,) = guards.numbers
    >>> total([n, 1, n, n]), guards.values([5])
    (Symbolic(10), [5, 15, 16])
    """
    if Symbolic not in map(type, numbers):
        return sum(numbers)
    found: dict[int, tuple[Any, int]] = {}
    for n in numbers:
        found[id(n)] = n, found.get(id(n), (n, 0))[1] + 1
    return functools.reduce(operator.add, [n * times if times > 1 else n for n, times in found.values()])


def runs(numbers: Sequence[Any]) -> list[Any]:
    """Return numbers, each once where the same one follows, and behind each how often it does.

    Examples
    --------
    >>> from gradloom.symbolic import runs
    >>> runs([7, 7, 7, 5, 7])
    [7, 3, 5, 1, 7, 1]
    """
    found: list[Any] = []
    last: Any = None
    for n in numbers:
        if n is last or (type(n) is int and type(last) is int and n == last):
            found[-1] += 1
        else:
            found += [n, 1]
            last = n
    return found


def of_runs(found: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Return each number of `runs` with how often it stands there."""
    return zip(found[::2], found[1::2], strict=True)


def settled(number: Any, special: Callable[[Any], bool] | None = None) -> Any:
    """Return a number, as a plain one where rules look out for its value: by default zero, one, two and so on."""
    return number.plain() if type(number) is Symbolic and decide(special or is_settled, number) else number


def is_settled(number: Any) -> bool:
    """Return whether a number is one that rules look out for, or no number."""
    return type(number) not in (int, float) or not math.isfinite(number) or abs(number) in _SPECIAL


def decide(function: Callable[..., Any], *args: Any) -> Any:
    """Return the result of a function of plain numbers, of which symbolic ones take note as a whole.

    Examples
    --------
    >>> import math
    >>> from gradloom.symbolic import Guards, decide
    >>> guards = Guards([4.0])
    >>> decide(math.isfinite, *guards.numbers), guards.values([5.0]), guards.values([math.inf])
    (True, [5.0], None)
    """
    for a in args:
        if type(a) is Symbolic:
            return a.guards.decide(function, args)
    return function(*args)
