"""A recipe gives for other numbers what a search through the value gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.core.test_polymorphic import traced

from gradloom.pattern import Pattern
from gradloom.recipe import Plain, Recipe
from gradloom.spec import Spec
from gradloom.symbolic import Guards

F64 = np.dtype(np.float64)


def values(m: Any, n: Any) -> list[Any]:
    """Return values with two numbers, and what follows from them, in various places."""
    spec = Spec((n, 3, m * n), F64)
    index = (5, ("slice", 0, n, 1), (m,), ())
    return [
        m,
        7,
        (m,),
        ((),),
        (index, index, ((index,), spec)),
        (spec, Spec((m,), F64), (Spec((), F64, weak=True), spec)),
        ("text", 1.5, -0.0, None, (n - 1, -m, m / 2)),
    ]


def test_as_by_a_search() -> None:
    """Also where a part stands in several places: then it is one object, as it was."""
    for k in range(7):
        guards = Guards([5, 4])
        value = values(*guards.numbers)[k]
        recipe = Recipe(value, len(guards.numbers))
        for given in ([5, 4], [7, 9], [2, 1000]):
            numbers = guards.values(given)
            assert numbers is not None
            found = recipe.of(numbers)
            assert found == Plain(numbers).of(value) == values(*given)[k]
            assert repr(found) == repr(values(*given)[k])
            if k == 4:
                assert found[0] is found[1] is found[2][0][0]


@pytest.mark.parametrize("known", [False, True])
def test_graphs(known: bool) -> None:
    """A graph that has a pattern is written when somebody looks at it."""
    plain = [traced(lambda x: np.sum(x[1:] * 2.5), np.zeros((n, 4))) for n in (6, 9)]
    guards = Guards([6])
    n = guards.numbers[0]
    specs = tuple(
        [Spec(tuple([n - (6 - k) if k > 4 else k for k in s.shape]), s.dtype, s.weak) for s in plain[0].specs]
    )
    nodes = tuple(
        [
            (op, inputs, ((("slice", 1, n, 1), ":"),) if op.name == "getitem" else attrs)
            for op, inputs, attrs in plain[0].nodes
        ]
    )
    nodes = tuple([(op, inputs, (specs[0],) if op.name == "input" else attrs) for op, inputs, attrs in nodes])
    graph = type(plain[0])(nodes, specs, plain[0].inputs, plain[0].outputs, plain[0].literals)
    pattern = Pattern(graph)
    recipe = Recipe((graph, graph), len(guards.numbers), {id(graph): pattern} if known else {})
    numbers = guards.values([9])
    assert numbers is not None
    first, second = recipe.of(numbers)
    assert first is second
    assert (first.pattern is pattern) == known
    assert first.specs == plain[1].specs
    assert str(first) == str(plain[1].without_sources())
