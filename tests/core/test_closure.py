"""What a function reads besides its arguments is compared where that can be, and else known to be unknown."""

from __future__ import annotations

import builtins
import contextlib
import decimal
import functools
import importlib
import math
import operator
import random
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.special

import gradloom as gl
from gradloom.closure import MOST, SMALL, closed_over

SCALE = 2.0
LIMITS: dict[str, Any] = {"low": 1.0, "table": [1, 2, (3.0, "a")], "array": np.arange(3.0)}
LARGE = np.zeros(SMALL)
SETTINGS = ModuleType("settings_of_a_user")
SETTINGS.rate = SETTINGS.other = 0.5  # type: ignore[attr-defined]
OFFSETS = (np.arange(2.0), np.float32(1.5), range(3), slice(1, None), ...)


class Base:
    """Has a number that methods of others read."""

    shared = 1.0

    @property
    def doubled(self) -> float:
        """Read it."""
        return 2 * self.shared


class Model(Base):
    """Has numbers that its methods read, and reads one of a module."""

    def __init__(self) -> None:
        self.weight = 3.0
        self.inner = SimpleNamespace(rate=0.5, table=[1.0])
        self.settings = SETTINGS

    def loss(self, x: Any) -> Any:
        """Read all."""
        return self.weight * self.doubled * self.inner.rate * self.root * self.settings.rate * x

    @cached_property
    def root(self) -> float:
        """Derive a number."""
        return math.sqrt(self.weight)

    @classmethod
    def made(cls, x: Any) -> Any:
        """Read that of the class."""
        return cls.shared * x

    @staticmethod
    def fixed(x: Any) -> Any:
        """Read one of the module."""
        return SCALE * x


class Slim:
    """Has slots, one of which may be empty."""

    __slots__ = ("empty", "weight")

    def __init__(self) -> None:
        self.weight = 1.0

    def __call__(self, x: Any) -> Any:
        """Read a slot."""
        return self.weight * x


@dataclass
class Plain:
    """Has fields."""

    weight: float = 2.0
    names: list[str] = field(default_factory=list)

    def loss(self, x: Any) -> Any:
        """Read one."""
        return self.weight * x


class Anything:
    """Has whatever it is asked for."""

    def __getattr__(self, name: str) -> float:
        return time.time()


class Colour(Enum):
    """Has a metaclass of its own."""

    RED = 1.0


class Table(dict[str, float]):
    """Holds more than its attributes."""


class Number(np.float64):
    """Has attributes."""

    scale = 1.0


class Holder:
    """Holds something."""

    def __init__(self, held: Any) -> None:
        self.held = held


@dataclass
class Drawn:
    """Has a field that is made anew for each object."""

    weight: float = field(default_factory=lambda: SCALE)


HELD, NUMBER = [SETTINGS], Number(2.0)
RECORDS: dict[int, Any] = {0: np.zeros((), [("a", float)])[()]}
MODEL, SLIM, PLAIN = Model(), Slim(), Plain()
RNG = np.random.default_rng(0)
VECTORIZED = np.frompyfunc(lambda x: SCALE * x, 1, 1)


def scaled(x: Any) -> Any:
    """Read a global number."""
    return SCALE * x


def through_another(x: Any) -> Any:
    """Call a function that reads one, within another function, and itself."""
    return sum(scaled(v) for v in x) if x else through_another([1.0])


def of_a_module(x: Any) -> Any:
    """Read a number of a module."""
    return SETTINGS.rate * x  # type: ignore[attr-defined]


def limited(x: Any) -> Any:
    """Read what containers hold."""
    return x + LIMITS["low"] + LIMITS["table"][0]


def given(settings: Any, x: Any) -> Any:
    """Read a number of what it is given."""
    return settings.rate * x


@contextlib.contextmanager
def scale() -> Iterator[float]:
    """Read a global number."""
    yield SCALE


def within(x: Any) -> Any:
    """Call what a library's function wraps."""
    with scale() as own:
        return own * x


def changes() -> list[tuple[Callable[..., Any], Callable[[pytest.MonkeyPatch], Any]]]:
    """Return functions, and what changes something that they read."""
    here = sys.modules[__name__]

    def to(value: Any) -> Callable[[pytest.MonkeyPatch], Any]:
        return lambda patch: patch.setattr(here, "SCALE", value)

    def rate(value: Any) -> Callable[[pytest.MonkeyPatch], Any]:
        return lambda patch: patch.setattr(SETTINGS, "rate", value)

    def entry(key: str, value: Any) -> Callable[[pytest.MonkeyPatch], Any]:
        return lambda patch: patch.setitem(LIMITS, key, value)

    array = np.arange(3.0)
    array[1] = 5.0
    return [
        (scaled, to(3.0)),
        (scaled, to(2)),
        (scaled, to(-0.0)),
        (through_another, to(3.0)),
        (lambda x: [scaled(v) for v in x], to(3.0)),
        (functools.partial(through_another, [2.0]), to(3.0)),
        (gl.value_and_grad(scaled), to(3.0)),
        (gl.jit(gl.vmap(through_another)), to(3.0)),
        (gl.custom_gradient(lambda x: (scaled(x), lambda g: g)), to(3.0)),
        (scaled, lambda patch: patch.setattr(here, "SCALE", np.ones(2))),
        (through_another, lambda patch: patch.setattr(here, "scaled", limited)),
        (of_a_module, lambda patch: patch.setattr(SETTINGS, "rate", 0.25)),
        (limited, entry("low", 2.0)),
        (limited, entry("new", 2.0)),
        (limited, entry("table", [1, 2, (3.0, "b")])),
        (limited, entry("array", array)),
        (limited, entry("array", np.arange(3.0, dtype=np.float32))),
        (limited, entry("array", np.arange(3.0).reshape(3, 1))),
        (limited, entry("array", np.arange(3.0))),
        (functools.partial(given, SETTINGS), rate(0.25)),
        (lambda x: given(SETTINGS, x), rate(0.25)),
        (lambda x: given(HELD[0], x) * HELD[0].other, rate(0.25)),
        (lambda x: within(x), to(3.0)),
        (lambda x: RECORDS[0]["a"] * x, lambda patch: patch.setitem(RECORDS, 0, np.ones((), RECORDS[0].dtype)[()])),
        (lambda x: max(x, 1.0), lambda patch: patch.setattr(builtins, "max", min)),
        (lambda x: x * Drawn().weight, to(3.0)),
        (MODEL.loss, lambda patch: patch.setattr(MODEL, "weight", 4.0)),
        (MODEL.loss, lambda patch: patch.setattr(MODEL, "new", 4.0, raising=False)),
        (MODEL.loss, lambda patch: patch.setattr(MODEL.inner, "rate", 4.0)),
        (MODEL.loss, lambda patch: patch.setattr(MODEL.inner, "table", [1.0, 2.0])),
        (MODEL.loss, lambda patch: patch.setattr(Base, "shared", 4.0)),
        (MODEL.loss, lambda patch: patch.setattr(Base, "doubled", property(lambda self: 3.0))),
        (MODEL.loss, lambda patch: patch.setattr(SETTINGS, "rate", 4.0)),
        (MODEL.fixed, to(3.0)),
        (Model.fixed, to(3.0)),
        (Model.made, lambda patch: patch.setattr(Base, "shared", 4.0)),
        (lambda x: MODEL.weight * x, lambda patch: patch.setattr(MODEL, "weight", 4.0)),
        (lambda x: Model.shared * x, lambda patch: patch.setattr(Model, "shared", 4.0, raising=False)),
        (gl.grad(MODEL.loss), lambda patch: patch.setattr(MODEL, "weight", 4.0)),
        (functools.partial(scaled, MODEL), lambda patch: patch.setattr(MODEL, "weight", 4.0)),
        (SLIM, lambda patch: patch.setattr(SLIM, "weight", 4.0)),
        (SLIM, lambda patch: patch.setattr(Slim, "__call__", lambda self, x: x)),
        (lambda x: SLIM(x), lambda patch: patch.setattr(SLIM, "empty", 4.0, raising=False)),
        (PLAIN.loss, lambda patch: patch.setattr(PLAIN, "weight", 4.0)),
        (PLAIN.loss, lambda patch: patch.setattr(PLAIN, "names", ["a"])),
        (lambda x: x[OFFSETS[3]], lambda patch: patch.setattr(here, "OFFSETS", (*OFFSETS[:3], slice(2, None), ...))),
    ]


@pytest.mark.parametrize("k", range(len(changes())))
def test_changes_show(k: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As long as nothing changes what is read is equal, and another one when it has."""
    f, change = changes()[k]
    before = closed_over(f)
    assert before is not None
    assert before == closed_over(f)
    assert hash(before) == hash(closed_over(f))
    change(monkeypatch)
    assert closed_over(f) != before
    monkeypatch.undo()
    assert closed_over(f) == before


def test_what_is_derived_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cached property is a change when it is found, or assigned."""
    model = Model()
    before = closed_over(model.loss)
    assert before is not None
    assert model.loss(1.0) == model.root * 1.5
    after = closed_over(model.loss)
    assert after == closed_over(model.loss) != before
    model.root = 7.0
    assert closed_over(model.loss) != after


def test_closures_and_defaults() -> None:
    """Numbers in closures, and defaults of both kinds."""

    def make(a: Any, b: Any, c: Any) -> Callable[..., Any]:
        def inner(x: Any, b: Any = b, *, c: Any = c) -> Any:
            return lambda y: a * x + b * y + c

        return inner

    same = closed_over(make(1.0, 2.0, 3.0))
    assert same is not None
    assert closed_over(make(1.0, 2.0, 3.0)) == same
    for others in ((1.5, 2.0, 3.0), (1.0, 2.5, 3.0), (1.0, 2.0, 3.5), (1, 2.0, 3.0), (True, 2.0, 3.0)):
        assert closed_over(make(*others)) != same
    assert closed_over(make(math.nan, 2.0, 3.0)) == closed_over(make(math.nan, 2.0, 3.0))


def test_static_arguments() -> None:
    """What is read of static arguments is looked at too."""
    assert closed_over(scaled, "a", 1) == closed_over(scaled, "a", 1) != closed_over(scaled, "a", True)
    assert closed_over(scaled, Anything()) is None


def test_libraries_stay() -> None:
    """What NumPy, SciPy, the standard library and gradloom are is not looked into."""

    def f(x: Any) -> Any:
        total = np.linalg.norm(x) + np.sum(np.tanh(x)) + math.sqrt(np.pi) + scipy.special.erf(float(len(x)))
        return gl.stop_gradient(total) * np.float32(2.0) + functools.reduce(max, [1, 2])

    assert closed_over(f) is not None
    assert closed_over(f) == closed_over(f)
    assert closed_over(gl.grad(f)) is not None


def random_by_itself(x: Any) -> Any:
    """Import what is random."""
    import numpy as own

    return x * own.random.normal()


def unknown() -> list[Callable[..., Any]]:
    """Return functions that read what may change unseen."""
    objects = [Anything(), Colour.RED, Table(a=1.0), Holder(LARGE), Holder(iter([1.0])), Holder(Holder(RNG)), Anything]

    def late(x: Any) -> Any:
        return not_bound(x)

    nameless: dict[str, Any] = {}
    exec("class Rates:\n    rate = 0.5\ndef f(x):\n    return Rates.rate * x", nameless)
    found = [
        *[lambda x, held=held: held.weight * x for held in objects],
        functools.partial(scaled, Anything()),
        functools.lru_cache(scaled),
        functools.singledispatch(scaled),
        lambda x: VECTORIZED(1.0) * x,
        lambda x: operator.attrgetter("rate")(SETTINGS) * x,
        lambda x: SETTINGS.__dict__["rate"] * x,
        lambda x: x * 2.0 if hasattr(SETTINGS, "more") else x,
        lambda x: x * importlib.import_module("math").pi,
        lambda x: x * np.load("weights.npy"),
        lambda x: x * Path("rate").read_text(),
        lambda x: x * NUMBER.scale,
        random_by_itself,
        lambda x: x * decimal.getcontext().prec,
        nameless["f"],
        lambda x: LARGE * x,
        lambda x: x + RNG.normal(),
        lambda x: x + np.random.normal(),
        lambda x: x + np.random.default_rng().normal(),
        lambda x: x + random.random(),
        lambda x: x + time.time(),
        lambda x: x + getattr(MODEL, "weight"),  # noqa: B009
        lambda x: x + globals()["SCALE"],
        lambda x: x + eval("SCALE"),
        lambda x: x + len(open(__file__).read()),  # noqa: SIM115
        iter([1.0]).__next__,
        late,
    ]
    if found is None:
        not_bound = scaled
    return found


@pytest.mark.parametrize("k", range(len(unknown())))
def test_unknown(k: int) -> None:
    """What cannot be compared is not."""
    assert closed_over(unknown()[k]) is None


def test_imported_in_the_function(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's module that a function imports by itself is not seen, one of a library stays."""
    monkeypatch.setitem(sys.modules, "settings_of_a_user", SETTINGS)

    def of_users(x: Any) -> Any:
        import settings_of_a_user  # type: ignore[import-not-found]

        return x * settings_of_a_user.rate

    def of_a_library(x: Any) -> Any:
        from math import pi

        return x * pi

    assert closed_over(of_users) is None
    assert closed_over(of_a_library) is not None


@pytest.mark.parametrize("line", ["from . import rate", "from .settings import rate", "from .. import rate"])
def test_imported_from_its_own_package(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So is a module of the package that a function is in."""
    for name in ("package_of_a_user", "package_of_a_user.inner", "package_of_a_user.inner.settings"):
        module = ModuleType(name)
        module.rate = 0.5  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, name, module)
    inside = {"__package__": "package_of_a_user.inner", "__name__": "package_of_a_user.inner.code"}
    exec(f"def f(x):\n    {line}\n    return x * rate", inside)
    f: Any = inside["f"]
    assert f(2.0) == 1.0
    assert closed_over(f) is None


def test_attributes_of_functions() -> None:
    """A function with attributes may read them."""

    def counted(x: Any) -> Any:
        return x * counted.factor  # type: ignore[attr-defined]

    assert closed_over(counted) is not None
    counted.factor = 2.0  # type: ignore[attr-defined]
    assert closed_over(counted) is None


def test_it_is_bounded() -> None:
    """Of thousands of values nobody looks at all at each call."""
    many = [[k] for k in range(MOST)]
    assert closed_over(lambda x: x + many[0][0]) is None
    numbers = [0.5] * (MOST + 1)
    assert closed_over(lambda x: x + numbers[0]) is None


def test_it_is_deep() -> None:
    """Functions that hold each other, and lists, may do so as deep as they like."""
    composed = functools.reduce(lambda f, k: lambda x: f(x) + k, range(500), scaled)
    nested = functools.reduce(lambda held, _: [held], range(1000), [1.0])
    assert closed_over(composed) is not None
    assert closed_over(lambda x: x + len(nested)) is not None


def test_without_names() -> None:
    """Modules need not have names, nor those that classes and functions are of."""
    inside: dict[str, Any] = {"__name__": None, "rate": 0.5}
    exec("def f(x):\n    return rate * x", inside)
    nobody = type("Nobody", (), {"__module__": None, "rate": 0.5})
    module = ModuleType("any")
    module.rate = 0.5  # type: ignore[attr-defined]
    del module.__name__
    for f in (inside["f"], lambda x: nobody.rate * x, lambda x: nobody().rate * x, lambda x: module.rate * x):  # type: ignore[attr-defined]
        assert closed_over(f) == closed_over(f) is not None


def test_nothing_of_the_users_runs() -> None:
    """Neither properties nor objects that are gone are asked."""

    class Slot:
        __slots__ = ("x",)

    class Hidden(Slot):
        @property
        def x(self) -> Any:  # type: ignore[override]
            raise RuntimeError

    slot = Hidden()
    Slot.x.__set__(slot, 2.0)  # type: ignore[attr-defined]
    before = closed_over(lambda x: (x, slot))
    assert before is not None
    Slot.x.__set__(slot, 3.0)  # type: ignore[attr-defined]
    assert closed_over(lambda x: (x, slot)) != before
    gone = weakref.proxy(Holder(1.0))
    assert closed_over(lambda x: x + gone) is None


def test_containers_that_hold_themselves() -> None:
    """They come to an end."""
    own: list[Any] = [1.0]
    own.append(own)
    assert closed_over(lambda x: x + own[0]) is not None
