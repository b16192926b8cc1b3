"""Native kernels of arrays of places on one axis: NumPy's bits, for every axis, layout and place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.backend import backends
from gradloom.compiler import compilers
from gradloom.op import ops
from gradloom.spec import Spec
from gradloom.testing.sample import rng
from gradloom_llvm import indexing

SHAPES = {"first": ((40,), 0), "rows": ((40, 3), 0), "middle": ((5, 30, 4), 1), "last": ((6, 50), 1)}


def kernel(name: str, *arrays: Any, axis: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Return the compiler's kernel of an op at places of an axis, and NumPy's; the native code is there."""
    x = arrays[0]
    index = tuple(["array" if k == axis else ":" for k in range(axis + 1)])
    attrs = (index, False)
    plain, keywords = backends.get("numpy").kernel(ops[name], attrs)
    assert not keywords
    specs = tuple([Spec(a.shape, a.dtype) for a in arrays])
    indexing._job(name, x.dtype).result()
    return compilers.get("llvm").kernel(ops[name], specs, attrs, plain), plain


def places(length: int, shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Return places with many repetitions, also counted from the end."""
    return rng(1).integers(-length, length, size=shape)


def special(shape: tuple[int, ...], dtype: Any, seed: int) -> Any:
    """Return numbers of which some are -0.0, infinite or NaN."""
    x = rng(seed).normal(size=shape)
    x.reshape(-1)[:: 2 + seed] = -0.0
    x.reshape(-1)[7::101] = np.inf
    x.reshape(-1)[11::103] = np.nan
    return x.astype(dtype)


def part_shape(x: Any, at: Any, axis: int) -> tuple[int, ...]:
    return (*x.shape[:axis], *at.shape, *x.shape[axis + 1 :])


def same_bits(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and np.ascontiguousarray(a).tobytes() == b.tobytes())


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("at_shape", [(3000,), (60, 50), (10, 15, 20)], ids=str)
@pytest.mark.parametrize("case", SHAPES)
def test_bits(case: str, at_shape: tuple[int, ...], dtype: Any) -> None:
    """Adding is what ``np.add.at`` does, in order, and reading is NumPy's index; neither changes its inputs."""
    shape, axis = SHAPES[case]
    x, at = special(shape, dtype, 1), places(shape[axis], at_shape)
    v = special(part_shape(x, at, axis), dtype, 2)
    whole = (slice(None),) * axis
    want = x.copy()
    with np.errstate(invalid="ignore"):
        np.add.at(want, (*whole, at), v)
    before = x.copy(), v.copy()
    add, plain = kernel("index_add", x, v, at, axis=axis)
    assert add is not plain
    assert same_bits(add(x, v, at), want)
    for one, other in zip((x, v), before, strict=True):
        assert same_bits(one, other)
    read, plain = kernel("gather", x, at, axis=axis)
    assert (read is plain) == (len(shape) == 1)  # where NumPy's is as quick
    assert same_bits(read(x, at), x[(*whole, at)])


def test_layouts() -> None:
    """Strides of any kind give the bits of C-ordered copies; so do arrays that native code does not take."""
    x, at = special((6, 50), float, 1), places(50, (60, 50))
    v = special((6, 50, 60), float, 2).swapaxes(1, 2)
    want = x.copy()
    with np.errstate(invalid="ignore"):
        np.add.at(want, (slice(None), at), v)
    add, _ = kernel("index_add", x, v, at, axis=1)
    read, _ = kernel("gather", x, at, axis=1)
    swapped = x.astype(x.dtype.newbyteorder())
    for other in (np.asfortranarray(x), x[::-1].copy()[::-1], np.repeat(x, 2, axis=1)[:, ::2], swapped):
        assert same_bits(np.asarray(add(other, v, at), float), want)
        assert same_bits(np.asarray(read(other, at), float), x[:, at])
    zeros = np.broadcast_to(0.0, x.shape)
    assert same_bits(add(zeros, v, at), add(np.zeros(x.shape), v.copy(), np.asfortranarray(at)))
    donated = x.copy()
    assert add(donated, v, at, donate=True) is donated
    assert same_bits(donated, want)


@pytest.mark.parametrize("place", [50, -51])
def test_places_that_there_are_not(place: int) -> None:
    """NumPy's error comes, and nothing is written before it."""
    x, at = np.zeros((6, 50)), places(50, (3000,))
    at[-1] = place
    add, _ = kernel("index_add", x, np.ones((6, 3000)), at, axis=1)
    read, _ = kernel("gather", x, at, axis=1)
    for run in (lambda: add(x, np.ones((6, 3000)), at, donate=True), lambda: read(x, at)):
        with pytest.raises(IndexError, match=rf"index {place} is out of bounds for axis \d with size 50"):
            run()
    assert not x.any()


def test_other_indices_stay_numpys() -> None:
    """Parts of axes, two arrays, integers and few places have no native kernel."""
    llvm, specs = compilers.get("llvm"), (Spec((6, 50), float), Spec((3000,), np.int64))

    def plain(*arrays: Any) -> Any:
        raise NotImplementedError

    for index in ((("slice", 0, 5, 1), "array"), ("array", "array"), (0, "array"), (None, ":", "array")):
        assert llvm.kernel(ops["gather"], specs, (index, False), plain) is plain
    for other in ((Spec((6, 50), float), Spec((30,), np.int64)), (Spec((6, 50), int), Spec((3000,), np.int64))):
        assert llvm.kernel(ops["gather"], other, ((":", "array"), False), plain) is plain


def test_gradients_of_reading() -> None:
    """The gradient of what is read again and again counts how often, from the first call to calls of native code."""
    at = places(40, (2500,))
    counts = np.bincount(at % 40, minlength=40)
    gradient = gl.jit(gl.grad(lambda x: np.sum(x[at] * np.arange(1.0, 4.0))))
    x = rng(3).normal(size=(40, 3))
    for _ in range(20):
        np.testing.assert_array_equal(gradient(x), counts[:, None] * np.arange(1.0, 4.0))
    indexing._job("index_add", x.dtype).result()
    np.testing.assert_array_equal(gradient(x), counts[:, None] * np.arange(1.0, 4.0))


def test_code_that_does_not_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    """NumPy's kernel runs on, after one warning that names the op."""

    def fail(ir: str) -> None:
        raise RuntimeError("no code today")

    monkeypatch.setattr(indexing, "load", fail)
    job = indexing._job.__wrapped__("index_add", np.dtype(float))
    with pytest.warns(RuntimeWarning, match="'llvm' failed on index_add.*no code today"):
        assert job.result() is None
    monkeypatch.setattr(indexing, "_job", lambda name, dtype: job)
    x, at = np.zeros((6, 50)), places(50, (3000,))
    add = indexing.indexing_kernel(
        "index_add",
        (Spec(x.shape, float), Spec((6, 3000), float), Spec(at.shape, np.int64)),
        ((":", "array"), False),
        lambda x, v, at, donate=False: "NumPy's",
    )
    assert add(x, np.ones((6, 3000)), at) == "NumPy's"
