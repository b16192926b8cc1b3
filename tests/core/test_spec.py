"""Spec: shape and dtype, interned."""

from __future__ import annotations

import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from alarms import alarms

from gradloom.backend import spec_of
from gradloom.spec import PYTHON_SCALARS, Spec


@pytest.mark.parametrize("dtype", "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 g c8 c16 G".split())
def test_equal_means_identical(dtype: str) -> None:
    """From tuples, NumPy integers and dtype names alike."""
    spec = Spec((2, 3), dtype)
    assert Spec((np.int64(2), np.intp(3)), np.dtype(dtype)) is spec
    assert all(type(n) is int for n in spec.shape)
    assert pickle.loads(pickle.dumps(spec)) is spec
    assert spec_of(np.zeros((2, 3), dtype)) is spec
    assert spec.size == 6
    assert spec.nbytes == 6 * np.dtype(dtype).itemsize
    assert spec.inexact == (np.dtype(dtype).kind in "fc")
    assert spec.with_shape(()) is Spec((), dtype)
    assert spec.with_dtype("f4") is Spec((2, 3), np.float32)
    assert repr(spec) == f"{np.dtype(dtype)}[2,3]"


def test_weak_specs() -> None:
    """Python scalars are weak, but for bool (NEP 50); NumPy scalars are not."""
    assert [spec_of(v).weak for v in (1.0, 1, 1j, True, np.float64(1), np.int8(1), np.ones(()))] == [
        True, True, True, False, False, False, False,
    ]  # fmt: skip
    weak = PYTHON_SCALARS[float]
    assert weak is not weak.strong()
    assert weak.strong() is Spec((), float)
    assert weak.strong().strong() is weak.strong()
    assert pickle.loads(pickle.dumps(weak)) is weak


def test_byte_order_is_native() -> None:
    """A big-endian array has the spec of the native one."""
    assert Spec((2,), ">f8") is Spec((2,), "f8")
    assert spec_of(np.zeros(2, ">c16")) is Spec((2,), complex)


def test_values_without_spec() -> None:
    """Everything that is no plain numeric array or number."""
    for value in (
        "a",
        None,
        [1.0],
        object(),
        np.array([None]),
        np.array("a"),
        np.zeros(2, "M8[s]"),
        np.ma.array([1.0]),
    ):
        assert spec_of(value) is None
    assert spec_of(np.ones((1, 1)).view(np.matrix)) is None


def test_size_zero_and_no_axes() -> None:
    """Sizes are products."""
    assert (Spec((0, 3), float).size, Spec((), float).size) == (0, 1)
    assert repr(Spec((), float)) == "float64[]"


def test_unused_specs_are_released() -> None:
    """Interning holds no spec alive."""
    ref = weakref.ref(Spec((7919, 3), float))
    for _ in range(600):  # push it out of any memo of recent specs
        Spec((7907, _), float)
    gc.collect()
    assert ref() is None


def test_dead_specs_leave_nothing() -> None:
    """Nor does a program whose shapes never repeat fill the memory with references."""
    before = sum(isinstance(x, weakref.ref) for x in gc.get_objects())
    for n in range(100_000):
        Spec((n, 7907), float)
    after = sum(isinstance(x, weakref.ref) for x in gc.get_objects())
    assert after - before < 50_000


def test_no_interrupt_is_lost() -> None:
    """A signal's exception reaches the caller, though specs die at each step."""
    with alarms() as set_alarm:
        for _ in range(200):
            with pytest.raises(InterruptedError):  # noqa: PT012
                set_alarm(0.0005)
                for n in range(400_000):
                    Spec((n, 7901), float)


def test_threads_intern_the_same() -> None:
    """Concurrent first uses of a spec give one object."""

    def make(_: int) -> list[int]:
        return [
            id(kept[n]) for n in range(500) if kept.setdefault(n, Spec((n, 104729), float)) is Spec((n, 104729), float)
        ]

    kept: dict[int, Spec] = {}
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(make, range(8)))
    assert all(r == results[0] for r in results)
    assert len(results[0]) == 500
