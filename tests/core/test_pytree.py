"""Containers: flattened to leaves and rebuilt in the same shape."""

from __future__ import annotations

import collections
import dataclasses
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import ArgumentError
from gradloom.pytree import LEAF, describe, flatten, in_key_order, paths, tree_map, unflatten

T = TypeVar("T")


class Point(NamedTuple):
    x: Any
    y: Any = None


Pair = collections.namedtuple("Pair", "left right")


@dataclasses.dataclass(frozen=True)
class Layer:
    w: Any
    b: Any = 0.0


@dataclasses.dataclass(frozen=True)
class Derived(Layer, Generic[T]):
    name: Any = dataclasses.field(default=None, kw_only=True)
    cache: Any = dataclasses.field(default=None, init=False)


TREES = st.recursive(
    st.integers() | st.floats(allow_nan=False) | st.none() | st.text(max_size=3),
    lambda children: st.one_of(
        st.lists(children, max_size=3),
        st.lists(children, max_size=3).map(tuple),
        st.dictionaries(st.text(alphabet="abc", max_size=2), children, max_size=3),
        st.builds(Point, children, children),
        st.builds(Layer, children, children),
    ),
    max_leaves=12,
)


@given(TREES)
def test_round_trip(tree: Any) -> None:
    """unflatten(flatten(t)) is t; the structure is hashable, and paths and text fit it."""
    leaves, structure = flatten(tree)
    assert unflatten(structure, leaves) == tree
    assert flatten(unflatten(structure, leaves)) == (leaves, structure)
    assert hash(structure) == hash(flatten(tree)[1])
    assert len(paths(structure)) == len(leaves)
    assert describe(structure).count("*") == len(leaves) + describe(structure).count("'*")
    assert tree_map(lambda leaf: leaf, tree) == tree
    assert in_key_order(tree, structure) == tree


@given(TREES)
def test_paths_lead_to_the_leaves(tree: Any) -> None:
    """Subscripts and attributes, as Python writes them."""
    leaves, structure = flatten(tree)
    for path, leaf in zip(paths(structure), leaves, strict=True):
        assert eval(f"tree{path}", {}, {"tree": tree}) is leaf or eval(f"tree{path}", {}, {"tree": tree}) == leaf


def test_kinds_of_containers() -> None:
    """Subclasses, generics, keyword-only and non-init fields, defaults."""
    derived = Derived(1.0, name=2.0)
    leaves, structure = flatten(derived)
    assert leaves == [1.0, 0.0, 2.0]
    again = unflatten(structure, [3.0, 4.0, 5.0])
    assert type(again) is Derived
    assert (again.w, again.b, again.name) == (3.0, 4.0, 5.0)
    assert flatten(Pair(1, (2, 3)))[0] == [1, 2, 3]
    assert unflatten(flatten(Pair(1, 2))[1], [3, 4]) == Pair(3, 4)


@pytest.mark.parametrize("leaf", [1.0, np.ones(2), "text", {1, 2}, object(), Layer, Point, range(3), iter(())])
def test_everything_else_is_a_leaf(leaf: Any) -> None:
    """Classes of containers, sets, iterators, arrays."""
    leaves, structure = flatten(leaf)
    assert leaves[0] is leaf
    assert structure == LEAF
    assert unflatten(structure, [5]) == 5


def test_structures_tell_containers_apart() -> None:
    """Kinds, lengths, keys, nesting and None."""
    trees = [(1, 2), [1, 2], (1, (2,)), ((1, 2),), Point(1, 2), Layer(1, 2), {"a": 1, "b": 2}, {"a": 1, "c": 2}]
    trees += [(1, 2, None), (None, 1, 2), (1, 2, ()), (1, 2, []), (1, 2, {})]
    structures = [flatten(tree)[1] for tree in trees]
    assert len(set(structures)) == len(trees)


@dataclasses.dataclass
class Model:
    w: Any
    activation: str = dataclasses.field(default="tanh", metadata={"static": True})
    b: Any = 0.0


def test_static_fields_belong_to_the_structure() -> None:
    """They are no leaves, come back as they were, and another value is another structure."""
    leaves, structure = flatten([Model(1.0, "relu", 2.0)])
    assert leaves == [1.0, 2.0]
    assert unflatten(structure, [10.0, 20.0]) == [Model(10.0, "relu", 20.0)]
    assert structure == flatten([Model(3.0, "relu", 4.0)])[1] != flatten([Model(1.0, "tanh", 2.0)])[1]
    assert describe(structure) == "[Model(*, *)]"
    assert paths(structure) == ["[0].w", "[0].b"]
    with pytest.raises(ArgumentError, match="Model: the value of a static field must be hashable") as caught:
        flatten(Model(1.0, []))  # type: ignore[arg-type]
    assert caught.value.argument == "activation"
    assert caught.value.remedy


def test_static_fields_that_are_equal_but_not_alike() -> None:
    """A trace of an instance with 1 does not serve one with 1.0, nor that of 0.0 one with -0.0."""
    fast = gl.jit(lambda m: m.w * m.activation)
    one = np.ones(2, np.int64)
    assert [fast(Model(one, n)).dtype for n in (1, 1.0, True, 1)] == [np.int64, np.float64, np.int64, np.int64]  # type: ignore[arg-type]
    assert [str(fast(Model(2.0, n))) for n in (0.0, -0.0, 0.0)] == ["0.0", "-0.0", "0.0"]  # type: ignore[arg-type]
    structures = [flatten(Model(1.0, value))[1] for value in (1, 1.0, (1,), (1.0,), frozenset([1]), frozenset([1.0]))]  # type: ignore[arg-type]
    assert len(set(structures)) == len(structures)


def test_ordered_dict() -> None:
    tree = collections.OrderedDict(b=1, a=(2,))
    leaves, structure = flatten(tree)
    again = unflatten(structure, leaves)
    assert type(again) is collections.OrderedDict
    assert again == tree
    assert paths(structure) == ["['b']", "['a'][0]"]
    assert in_key_order(collections.OrderedDict(a=(20,), b=10), structure) == collections.OrderedDict(b=10, a=(20,))


def test_texts() -> None:
    """Structures in errors read like code."""
    structure = flatten({"w": (1.0, None), "n": [Point(1, 2)], "one": (3,)})[1]
    assert describe(structure) == "{'w': (*, None), 'n': [Point(*, *)], 'one': (*,)}"
    assert paths(structure) == ["['w'][0]", "['n'][0].x", "['n'][0].y", "['one'][0]"]


def test_tree_map_over_several() -> None:
    """Containers of one structure; others are refused with both structures in the text."""
    assert tree_map(lambda a, b, c: a + b * c, (1, [2]), (3, [4]), (5, [6])) == (16, [26])
    with pytest.raises(ArgumentError, match=r"(?s)expected: \(\*, \*\).*got: \[\*, \*\]"):
        tree_map(lambda a, b: a, (1, 2), [1, 2])


def test_in_key_order() -> None:
    """Dicts are matched by key at any depth; what does not match is left alone."""
    like = flatten(({"a": 1, "b": Point({"c": 2, "d": 3})},))[1]
    found = in_key_order(({"b": Point({"d": 30, "c": 20}), "a": 10},), like)
    assert flatten(found)[0] == [10, 20, 30]
    for other in ({"a": 1}, [1], None, ({"a": 1, "x": 2},), ({"a": 1, "b": (1, 2)},)):
        assert in_key_order(other, like) == other


def test_too_few_or_many_leaves() -> None:
    """A leaf structure takes one leaf."""
    with pytest.raises(ValueError, match="unpack"):
        unflatten(LEAF, [1, 2])


def test_deep_nesting() -> None:
    """Depth is bounded by Python's recursion limit only."""
    tree: Any = 1.0
    for _ in range(150):
        tree = [tree]
    leaves, structure = flatten(tree)
    assert leaves == [1.0]
    assert unflatten(structure, leaves) == tree


@dataclasses.dataclass
class Scaled:
    w: Any
    scale: Any = dataclasses.field(init=False, default=1.0)
    count: int = dataclasses.field(init=False, default=2)


@dataclasses.dataclass
class Doubled:
    name: ClassVar[str] = "doubled"
    w: Any
    factor: dataclasses.InitVar[float] = 2.0

    def __post_init__(self, factor: float) -> None:
        self.w = factor * self.w
        self.size = self.w.size


@dataclasses.dataclass
class Squared:
    w: Any
    factor: float = dataclasses.field(default=1.0, metadata={"static": True})
    squared: Any = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        if self.factor != 1.0:
            self.w = self.factor * self.w
        self.squared = self.w**2


class Shifted(collections.namedtuple("Shifted", "a b")):
    """The same as a tuple."""

    def __new__(cls, a: Any, b: Any = 1.0) -> Any:
        return super().__new__(cls, a + 1.0, b)


def scaled() -> Scaled:
    made = Scaled(np.array([1.0, 2.0]))
    made.scale, made.count = 3.0, 5
    return made


@pytest.mark.parametrize(
    ("made", "f"),
    [
        (scaled(), lambda p: np.sum(p.w**2 * p.scale) * p.count),
        (Doubled(np.array([1.0, 2.0])), lambda p: np.sum(p.w**2) * p.size),
        (Squared(np.array([1.0, 2.0])), lambda p: np.sum(p.w * p.squared) * p.factor),
        (Shifted(np.array([1.0, 2.0])), lambda p: np.sum(p.a**2 * p.b)),
    ],
    ids=["init=False", "changed", "derived", "__new__"],
)
@pytest.mark.parametrize("transform", [gl.value_and_grad, lambda f: gl.jit(gl.value_and_grad(f))], ids=["plain", "jit"])
def test_containers_hold_what_they_held(transform: Any, made: Any, f: Any) -> None:
    """Also where making an instance changes its arguments, or does not take all fields."""
    value, gradient = transform(f)(made)
    assert value == f(made)
    leaves, structure = flatten(made)
    for k, leaf in enumerate(leaves):
        for i in np.ndindex(np.shape(leaf)):
            moved = []
            for step in (1e-6, -1e-6):
                new = [np.array(a, float) for a in leaves]
                new[k][i] += step
                moved.append(f(unflatten(structure, new)))
            np.testing.assert_allclose(flatten(gradient)[0][k][i], (moved[0] - moved[1]) / 2e-6, rtol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(flatten(unflatten(structure, leaves))[0], leaves, strict=True))


def test_a_change_before_others_are_derived_is_refused() -> None:
    """They would be derived from what is changed twice."""
    with pytest.raises(ArgumentError, match="__post_init__ changes a field and derives others") as caught:
        gl.grad(lambda p: np.sum(p.w * p.squared))(Squared(np.array([1.0, 2.0]), 3.0))
    assert caught.value.argument == "w"
