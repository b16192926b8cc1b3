"""`jit`: one trace per signature, then only the plan; what may change between calls, and what may not."""

from __future__ import annotations

import dataclasses
import importlib
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, BackendError, ConcreteValueError, LostGradientError, OutputError
from gradloom.jit import Jitted

X = np.array([0.5, -1.25, 2.0])


class Counted:
    """A function that counts how often it is traced."""

    def __init__(self, f: Any = lambda *args, **kwargs: args[0] * 2.0) -> None:
        self.f = f
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.calls += 1
        return self.f(*args, **kwargs)


# -- signatures --------------------------------------------------------------------------------


def test_one_trace_per_signature() -> None:
    """Values do not count; shapes, dtypes and structures do."""
    f = Counted()
    fast = gl.jit(f)
    for _ in range(3):
        for x in (X, X + 1, np.zeros(3), np.asfortranarray(X), X[::-1]):
            np.testing.assert_array_equal(fast(x), x * 2.0)
    assert f.calls == 1
    for n, x in enumerate([np.ones((3, 1)), X.astype(np.float32), np.arange(3), 2.0, np.float64(2.0), 2, 2j], start=2):
        for _ in range(2):
            out = fast(x)
            np.testing.assert_array_equal(out, np.asarray(x) * 2.0)
            assert np.asarray(out).dtype == np.asarray(x * 2.0).dtype
        assert f.calls == n
    fast(X)
    assert f.calls == 8


def test_python_numbers_are_arguments_not_constants() -> None:
    """Their values may change without a new trace, special ones included."""
    f = Counted(lambda x, s: np.copysign(x, s) + s)
    fast = gl.jit(f)
    for s in (1.0, -0.0, 0.0, -1.0, np.inf, np.nan):
        np.testing.assert_array_equal(fast(X, s), np.copysign(X, s) + s)
    assert f.calls == 1


def test_int_float_and_bool_scalars_are_different_signatures() -> None:
    """2, 2.0 and True are equal, yet not alike."""
    fast = gl.jit(lambda x: x * x)
    results = [fast(2), fast(2.0), fast(True), fast(2)]
    assert [r.dtype for r in results] == [np.int64, np.float64, np.bool_, np.int64]


def test_new_shape_back_and_forth() -> None:
    """Signatures are all kept."""
    f = Counted(lambda x: np.sum(x**2))
    fast = gl.jit(gl.grad(f))
    for _ in range(3):
        for shape in ((3,), (2, 3), (0,), ()):
            x = np.full(shape, 3.0)
            np.testing.assert_array_equal(fast(x), 2 * x)
    assert f.calls == 4


def test_containers_and_keywords() -> None:
    """Arguments and results are containers; keywords are part of the signature."""

    @dataclasses.dataclass
    class State:
        a: Any
        b: Any

    f = Counted(lambda p, *, s=1.0, extra=None: {"out": State(p[0] * s, p[1]["w"]), "extra": extra, "none": None})
    fast = gl.jit(f)
    p = (X, {"w": 2.0})
    for _ in range(2):
        out = fast(p)
        np.testing.assert_array_equal(out["out"].a, X)
        assert out["out"].b == 2.0
        assert out["extra"] is None
        assert out["none"] is None
        assert fast(p, s=3.0)["out"].a[0] == 1.5
        np.testing.assert_array_equal(fast(p, extra=[X])["extra"][0], X)
    assert f.calls == 3


def test_arguments_that_are_none() -> None:
    """They are told from arrays, and have a fast way and traces of their own."""

    def f(x: Any, p: Any, mask: Any = None) -> Any:
        return {"sum": np.sum(x * p["w"] if mask is None else x * p["w"] * mask), "none": p["b"]}

    fast = gl.jit(f)
    (jitted,) = [c.cell_contents for c in fast.__closure__ if type(c.cell_contents) is Jitted]  # type: ignore[attr-defined]
    w = {"w": X, "b": None}
    for _ in range(3):
        assert fast(X, w, None) == f(X, w)
        assert fast(X, w, 2.0 * X) == f(X, w, 2.0 * X)
        assert fast(X, {"w": X, "b": 1.0}, None) == f(X, {"w": X, "b": 1.0})
    assert len(jitted._fast_calls) == 3
    assert None not in jitted._fast_calls.values()


def test_no_arguments() -> None:
    """A function of nothing is a plan too, and reads what it closes over at each call."""
    w = X.copy()
    fast = gl.jit(lambda: (w, 3.0))
    np.testing.assert_array_equal(fast()[0], X)
    w[:] = 1.0
    np.testing.assert_array_equal(fast()[0], [1.0, 1.0, 1.0])
    assert fast()[1] == 3.0


def test_wrapped_metadata() -> None:
    """The jitted function looks like the function."""

    def loss(x: Any) -> Any:
        """Doc."""
        return x

    fast = gl.jit(loss)
    assert (fast.__name__, fast.__doc__, fast.__wrapped__) == ("loss", "Doc.", loss)


# -- static arguments --------------------------------------------------------------------------


def test_static_arguments_are_values() -> None:
    """Python sees their value; each new one is a new trace."""
    f = Counted(lambda x, n, kind: x**n if kind == "power" else x * n)
    fast = gl.jit(f, static_argnums=(1, -1))
    for _ in range(2):
        np.testing.assert_array_equal(fast(X, 3, "power"), X**3)
        np.testing.assert_array_equal(fast(X, 3, "times"), X * 3)
        np.testing.assert_array_equal(fast(X, 2, "power"), X**2)
    assert f.calls == 3


def test_static_values_that_are_equal_but_not_alike() -> None:
    """1, 1.0 and True, 0.0 and -0.0, also inside tuples, are different values."""
    fast = gl.jit(lambda x, n: x * n[0] if isinstance(n, tuple) else np.copysign(x, n), static_argnums=1)
    one = np.ones(2, np.int64)
    assert [fast(one, (n,)).dtype for n in (1, 1.0, True, 1)] == [np.int64, np.float64, np.int64, np.int64]
    assert [fast(2.0, n) for n in (0.0, -0.0, 0.0)] == [2.0, -2.0, 2.0]
    assert [fast(one, (n,)).dtype for n in (1, np.float32(1), np.complex64(1))] == [np.int64, np.float64, np.complex128]


class Scale:
    """A static value that does not print what it holds."""

    def __init__(self, by: float) -> None:
        self.by = by

    def __repr__(self) -> str:
        return "Scale()"


def test_static_values_that_print_alike() -> None:
    """Objects are told apart by what they are: one that is gone may have had the address, or the text, of the next."""
    fast = gl.jit(lambda x, f: f(x), static_argnums=1)
    assert [fast(1.0, lambda x, k=k: x + k) for k in (1, 2, 3)] == [2.0, 3.0, 4.0]
    scaled = gl.jit(lambda x, s: x * s.by, static_argnums=1)
    assert [scaled(1.0, Scale(k)) for k in (2.0, 3.0)] == [2.0, 3.0]


@pytest.mark.parametrize("value", [[1], {"a": 1}, (1, [2]), {1}, X], ids=lambda v: type(v).__name__)
def test_static_arguments_must_be_hashable(value: Any) -> None:
    """Also deep inside a tuple."""
    with pytest.raises(ArgumentError, match="a static argument must be hashable") as caught:
        gl.jit(lambda x, n: x, static_argnums=1)(X, value)
    assert caught.value.argument == "argument 1"


def test_signatures_are_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths that never come again take no more and more memory."""
    monkeypatch.setattr(importlib.import_module("gradloom.jit"), "MAX_SIGNATURES", 3)
    counted = Counted(np.sum)
    fast = Jitted(counted, ())
    for n, traces in ((1, 1), (2, 2), (3, 3), (1, 3), (4, 4), (4, 4), (1, 5)):
        assert fast((np.ones(n),), {}) == n
        assert counted.calls == traces
        assert len(fast._traces) <= 3
        assert len(fast._fast_calls) <= 3


def test_static_argnums_out_of_range() -> None:
    """Checked when called, against what was given."""
    with pytest.raises(ArgumentError, match="static_argnums is out of range") as caught:
        gl.jit(lambda x, n: x * n, static_argnums=1)(X, n=2)
    assert caught.value.argument == "static_argnums"
    assert caught.value.remedy == "pass the arguments that static_argnums names by position, not by keyword"
    with pytest.raises(ArgumentError, match="static_argnums must name each argument once"):
        gl.jit(lambda x, n: x * n, static_argnums=(1, -1))(X, 2)


def test_integers_beyond_int64() -> None:
    """The argument is named in an error with a remedy, at the first call and later."""
    fast = gl.jit(lambda x, n: x * n)
    for _ in range(3):
        with pytest.raises(ArgumentError, match=r"(?s)integer is out of range.*int64.*10000000000.*float.*test_jit.py"):
            fast(np.ones(2), 10**30)
        np.testing.assert_array_equal(fast(np.ones(2), 7), [7.0, 7.0])


@pytest.mark.parametrize(
    "f",
    [
        lambda x, n: x + n,
        lambda x, n: np.maximum(x, n),
        lambda x, n: np.full_like(x, n),
        lambda x, n: gl.vmap(lambda y: y * n)(x),
        lambda x, n: gl.jit(lambda x, n: x - n)(x, n),
        lambda x, n: gl.jvp(lambda s: s * (x + n), (1.0,), (1.0,))[0],
    ],
    ids="add maximum full vmap jit jvp".split(),
)
def test_integers_beyond_the_dtype_of_an_array(f: Any) -> None:
    """They do not wrap around in silence, whether they are arguments or stand in the code; NumPy raises as well."""
    x = np.array([1, 200], np.uint8)
    fast = gl.jit(f)
    np.testing.assert_array_equal(fast(x, 7), f(x, 7), strict=True)
    for n in (300, -1):
        with pytest.raises(ArgumentError, match=f"(?s)out of range.*uint8.*got: {n}.*astype.*test_jit"):
            fast(x, n)
    np.testing.assert_array_equal(fast(x, 7), f(x, 7), strict=True)


@pytest.mark.parametrize(
    "f",
    [
        lambda x, n: x + (n + 1),
        lambda x, n: x * (n * n),
        lambda x, n: x - (-n),
        lambda x, n: np.insert(x, 0, n),
        lambda x, n: np.insert(x, 0, [n, 1]),
        lambda x, n: np.array([n, 1], dtype=x.dtype, like=x),
        lambda x, n: np.asarray(n, dtype=x.dtype, like=x),
        lambda x, n: np.choose(x > 1, [x, n + 0]),
        lambda x, n: gl.jit(lambda x, m: x + m)(x, n + 1),
        lambda x, n: gl.vmap(lambda a: a * (n + 1))(x),
    ],
    ids="add multiply negative insert list array asarray choose jit vmap".split(),
)
def test_integers_computed_from_arguments_beyond_the_dtype_of_an_array(f: Any) -> None:
    """They do not wrap around in silence either."""
    x = np.array([1, 200], np.uint8)
    fast = gl.jit(f)
    np.testing.assert_array_equal(fast(x, 0), f(x, 0), strict=True)
    with pytest.raises(ArgumentError, match=r"(?s)out of range.*uint8.*got: (-?300|301|90000).*astype.*test_jit"):
        fast(x, 300)


@pytest.mark.parametrize("name", "less less_equal greater greater_equal equal not_equal".split())
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int32", "uint64"])
def test_comparisons_with_integers_of_any_size(name: str, dtype: str) -> None:
    """They are exact, as NumPy's, for arguments and what is computed of them."""
    compare = getattr(np, name)
    x = np.array([0, 1, np.iinfo(dtype).max], dtype)
    first, second = gl.jit(compare), gl.jit(lambda x, n: compare(n + 1, x))
    for n in (-1, 0, 1, 126, 254, 300, 2**31, 2**40, -(2**40)):
        for _ in range(2):
            np.testing.assert_array_equal(first(x, n), compare(x, n), strict=True)
            np.testing.assert_array_equal(second(x, n), compare(n + 1, x), strict=True)


def test_integers_in_the_code_beyond_the_dtype_of_an_array() -> None:
    """The error names what they were meant for."""
    with pytest.raises(ArgumentError, match=r"(?s)^multiply: .*uint8.*300"):
        gl.jit(lambda x: x * 300)(np.ones(2, np.uint8))
    for f in (
        lambda x: np.full_like(x, 300),
        lambda x: np.pad(x, 1, constant_values=300),
        lambda x: np.insert(x, 0, 300),
        lambda x: np.where(x > 1, x, 300),
        lambda x: np.select([x > 1], [x], 300),
        lambda x: np.choose(x > 1, [x, 300]),
        lambda x: np.asarray(300, dtype=x.dtype, like=x),
    ):
        with pytest.raises(ArgumentError, match=r"(?s)out of range.*uint8.*300"):
            gl.jit(f)(np.ones(2, np.uint8))
    with pytest.raises(ArgumentError, match=r"(?s)^multiply: .*uint8.*300.*test_jit"):
        gl.tensor(np.ones(2, np.uint8)) * 300


def test_limits_beyond_the_dtype_of_an_array() -> None:
    """np.clip takes integers that the dtype cannot hold for no limit, as NumPy does."""
    x = np.array([1, 200], np.uint8)
    fast = gl.jit(np.clip)
    for limits in ((0, 300), (-1, 100), (-5, 1000), (7, 255)):
        f = lambda x, limits=limits: np.clip(x, *limits)  # noqa: E731
        np.testing.assert_array_equal(gl.jit(f)(x), f(x), strict=True)
        np.testing.assert_array_equal(fast(x, *limits), f(x), strict=True)
    with pytest.raises(ArgumentError, match=r"(?s)out of range.*uint8.*300"):
        fast(x, 300, 400)
    big = np.array([1, 2**64 - 1], np.uint64)
    np.testing.assert_array_equal(fast(big, -1, 2**62), np.clip(big, -1, 2**62), strict=True)


def test_floats_in_arrays_of_integers() -> None:
    """A Python float is cut off as NumPy does it, whatever its size."""
    x = np.ones(2, np.int32)
    np.testing.assert_array_equal(gl.jit(np.full_like)(x, -2.5), np.full_like(x, -2.5), strict=True)


@pytest.mark.parametrize("number", [2.5, 3])
@pytest.mark.parametrize(
    "f",
    [
        lambda x, s: np.linspace(x, s, 3),
        lambda x, s: np.linspace(s, x, 3),
        lambda x, s: np.logspace(x, s, 3),
        np.dot,
        np.inner,
        np.multiply.outer,
        np.outer,
        np.kron,
        np.append,
        np.full_like,
        np.hypot,
        lambda x, s: np.where(x > 0, x, s),
        lambda x, s: np.clip(x, -1.0, s),
        lambda x, s: np.stack([x[0], s]),
    ],
)
def test_dtypes_beside_python_numbers(f: Any, number: Any) -> None:
    """An argument that is a Python number yields to dtypes exactly where NumPy lets it, and so does one in the code."""
    x = np.ones(3, np.float32)
    expected = f(x, number)
    np.testing.assert_allclose(gl.jit(f)(x, number), expected, rtol=1e-6, strict=True)
    np.testing.assert_allclose(gl.jit(lambda x: f(x, number))(x), expected, rtol=1e-6, strict=True)


def test_static_argument_in_a_nested_transform() -> None:
    """Static inside grad and vmap."""
    fast = gl.jit(lambda x, n: np.sum(x**n), static_argnums=1)
    np.testing.assert_allclose(gl.grad(lambda x: fast(x, 3))(X), 3 * X**2, rtol=1e-14)
    np.testing.assert_allclose(gl.vmap(lambda x: fast(x, 2))(X), X**2, rtol=1e-14)


@pytest.mark.parametrize("value", ["mean", object(), np.array([None]), np.ma.array([1.0])])
def test_arguments_that_cannot_be_traced(value: Any) -> None:
    """The remedy is static_argnums."""
    with pytest.raises(ArgumentError, match=r"cannot trace an argument of this kind\n  argument: argument 1") as caught:
        gl.jit(lambda x, kind: x)(X, value)
    assert "static_argnums" in caught.value.remedy


# -- values on demand --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "action"),
    [
        (lambda x: x if x > 0 else -x, "bool"),
        (lambda x: float(x) * x, "float"),
        (lambda x: x * int(x), "int"),
        (lambda x: np.asarray(x) * x, "NumPy array"),
        (lambda x: X[np.sign(x).astype(int)], "index|NumPy array"),
        (lambda x: x * x.item(), "item"),
        (lambda x: max(x, 1.0), "bool"),
        (lambda x: x * len(range(np.sign(x).astype(int))), "index"),
    ],
)
def test_asking_for_a_value_raises_with_the_remedy(f: Any, action: str) -> None:
    """Also through grad and vmap inside; and nothing is left behind."""
    for transformed in (gl.jit(f), gl.jit(gl.grad(f)), gl.vmap(gl.jit(f)), gl.vmap(f)):
        x = np.ones(2) if transformed.__name__.startswith("vmap") else 1.0
        with pytest.raises((ConcreteValueError, LostGradientError)) as caught:
            transformed(x)
        if type(caught.value) is ConcreteValueError:
            assert "np.where" in caught.value.remedy
    with pytest.raises(ConcreteValueError, match=f"({action}).* needs a value, but it is traced by jit") as caught:
        gl.jit(f)(1.0)
    assert f"{__file__}:" in caught.value.location


def test_failed_trace_is_not_kept() -> None:
    """The next call traces again."""
    fails = [True]

    def f(x: Any) -> Any:
        if fails[0]:
            raise ZeroDivisionError("user's own")
        return x * 2.0

    fast = gl.jit(f)
    with pytest.raises(ZeroDivisionError, match="user's own"):
        fast(X)
    fails[0] = False
    np.testing.assert_array_equal(fast(X), X * 2)


def test_output_of_another_kind() -> None:
    """Named by its place."""
    with pytest.raises(OutputError, match=r"output\['name'\]"):
        gl.jit(lambda x: {"name": "y", "y": x})(X)
    with pytest.raises(OutputError, match="a traced value where containers hold none"):
        gl.jit(lambda x: {x: 1.0})(1.0)
    with pytest.raises(OutputError, match="returned nothing"):
        gl.jit(lambda x: None)(X)


def test_static_shapes_are_known() -> None:
    """Shape, dtype, ndim, size and len do not ask for values."""
    fast = gl.jit(lambda x: x * x.shape[0] * x.ndim * len(x) / x.size if x.dtype == np.float64 else x)
    np.testing.assert_allclose(fast(np.ones((2, 3))), np.full((2, 3), 2 * 2 * 2 / 6), rtol=1e-15)


# -- closures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, 5000])
def test_closures_are_read_at_each_call(size: int) -> None:
    """Arrays that the function closes over are inputs: later content counts, without a new trace."""
    w = np.ones(size)
    f = Counted(lambda x: x * w)
    fast = gl.jit(f)
    np.testing.assert_array_equal(fast(2.0), 2 * w)
    w[:] = np.arange(size)
    np.testing.assert_array_equal(fast(2.0), 2.0 * np.arange(size))
    assert f.calls == 1
    assert w.flags.writeable


@pytest.mark.parametrize("size", [3, 5000])
@pytest.mark.parametrize(
    "transform",
    [
        gl.grad,
        lambda f: gl.grad(gl.grad(f)),
        lambda f: lambda x: gl.value_and_grad(f)(x)[1],
        gl.jacobian,
        lambda f: lambda x: gl.jvp(f, (x,), (1.0,))[1],
        lambda f: lambda x: gl.vjp(f, x)[1](1.0)[0],
        lambda f: lambda x: gl.hvp(f)(x, 1.0),
        lambda f: lambda x: np.sum(gl.vmap(f)(x * np.ones(2))),
        lambda f: lambda x: gl.grad(lambda s: f(s) * x)(2.0),
    ],
    ids="grad second value_and_grad jacobian jvp vjp hvp vmap outer".split(),
)
def test_closures_of_transformed_functions_are_read_at_each_call(transform: Any, size: int) -> None:
    """What an inner transform closes over is an input too, also when it meets no argument of the outer function."""
    w = np.ones(size)
    f = Counted(transform(lambda x: np.sum(w * x * x) * x))
    fast = gl.jit(f)
    before = fast(3.0)
    w[:] *= 2.0
    np.testing.assert_allclose(fast(3.0), 2.0 * before, rtol=1e-14)
    assert f.calls == 1
    assert w.flags.writeable


def test_methods() -> None:
    """A bound method can be jitted; on a class, self is a static argument."""

    class Model:
        def __init__(self, w: Any) -> None:
            self.w = w
            self.fast = gl.jit(self.apply)

        def apply(self, x: Any) -> Any:
            return x * self.w

    class Static(Model):
        @staticmethod
        def build() -> Any:
            return gl.jit(Model.apply, static_argnums=0)

    a, b = Model(np.full(3, 2.0)), Model(np.full(3, 3.0))
    np.testing.assert_array_equal(a.fast(X), 2 * X)
    np.testing.assert_array_equal(b.fast(X), 3 * X)
    shared = Static.build()
    np.testing.assert_array_equal(shared(a, X), 2 * X)
    np.testing.assert_array_equal(shared(b, X), 3 * X)
    a.w[:] = 5.0
    np.testing.assert_array_equal(shared(a, X), 5 * X)


# -- memory ------------------------------------------------------------------------------------


def test_outputs_are_never_aliased() -> None:
    """Not between calls, nor to arguments, captured arrays, or each other."""
    w = np.full(3, 2.0)
    fast = gl.jit(lambda x: (x, x, w, x[1:], np.reshape(x, (3, 1)), x * 1.0, np.ones(3), np.zeros_like(x)))
    x = X.copy()
    calls = [fast(x) for _ in range(3)]
    arrays = [a for call in calls for a in call]
    for k, a in enumerate(arrays):
        assert not np.shares_memory(a, x)
        assert not np.shares_memory(a, w)
        assert not any(np.shares_memory(a, b) for b in arrays[:k])
        a += 1.0
    np.testing.assert_array_equal(x, X)
    np.testing.assert_array_equal(fast(x)[6], 1.0)
    np.testing.assert_array_equal(fast(x)[7], 0.0)


def test_arguments_are_never_changed() -> None:
    """Functional assignment inside does not reach the caller's array."""

    def f(x: Any) -> Any:
        y = x + 0.0
        y[0] = 9.0
        x[1] = 7.0
        x += 1.0
        return x + y

    x = X.copy()
    for _ in range(3):
        out = gl.jit(f)(x)
        np.testing.assert_array_equal(x, X)
        np.testing.assert_array_equal(out, [X[0] + 1 + 9, 8 + X[1], 2 * X[2] + 1])


def test_foreign_byte_order_in_native_out() -> None:
    """Big-endian arrays compute like native ones; results have the native dtype that specs promise."""
    x = X.astype(">f8")
    for f in (np.sin, lambda x: x * 2, lambda x: np.sum(x), lambda x: x[::-1], np.transpose):
        for run in (gl.jit(f), gl.vmap(f) if f is np.sin else f, gl.elementwise_grad(f)):
            np.testing.assert_array_equal(run(x), run(X))
        assert gl.jit(f)(x).dtype.isnative


# -- running -----------------------------------------------------------------------------------


def test_scheduler_and_backend_arguments() -> None:
    """Known names run; unknown ones name what exists."""
    fast = gl.jit(np.sin, scheduler="serial", backend="numpy")
    np.testing.assert_array_equal(fast(X), np.sin(X))
    with pytest.raises(BackendError, match=r"(?s)unknown backend 'nope'.*'numpy'"):
        gl.jit(np.sin, backend="nope")
    with pytest.raises(BackendError, match=r"(?s)unknown scheduler 'nope'.*'serial'"):
        gl.jit(np.sin, scheduler="nope")(X)
    with gl.scheduler("serial"), gl.backend("numpy"):
        np.testing.assert_array_equal(gl.jit(np.sin)(X), np.sin(X))


def test_contexts_are_restored_after_errors() -> None:
    """A raising body leaves the chosen backend and scheduler as they were."""
    from gradloom.context import current_backend, current_executor

    before = current_backend(), current_executor()
    with pytest.raises(ZeroDivisionError), gl.scheduler("serial"), gl.backend("numpy"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError):
        gl.jit(lambda x: 1 / 0, backend="numpy", scheduler="serial")(X)
    assert (current_backend(), current_executor()) == before


def test_threads_share_a_jitted_function() -> None:
    """Concurrent first calls, of several signatures, give what serial calls give."""
    w = np.arange(5000.0)
    gradient = gl.grad(lambda x, n: np.sum(np.sin(x) * w[: x.size] * n), 0)
    fast, alone = gl.jit(gradient), gl.jit(gradient)
    barrier = threading.Barrier(8)

    def work(k: int) -> list[Any]:
        barrier.wait()
        return [fast(np.full(1 + (k + i) % 5, 0.1 * k), 2.0 + i) for i in range(50)]

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(work, range(8)))
    for k, found in enumerate(results):
        for i, result in enumerate(found):
            x, n = np.full(1 + (k + i) % 5, 0.1 * k), 2.0 + i
            np.testing.assert_array_equal(result, alone(x, n))
            np.testing.assert_allclose(result, np.cos(x) * w[: x.size] * n, rtol=1e-15)
    assert w.flags.writeable


def test_gradient_of_jit_is_that_of_the_function() -> None:
    """jit is transparent to derivatives of any order, and traces once under them."""
    f = Counted(lambda x: np.sum(np.tanh(x) ** 2))
    fast = gl.jit(f)
    plain = lambda x: np.sum(np.tanh(x) ** 2)  # noqa: E731
    for _ in range(2):
        np.testing.assert_array_equal(gl.grad(fast)(X), gl.grad(plain)(X))
        np.testing.assert_allclose(gl.hessian(fast)(X), gl.hessian(plain)(X), rtol=1e-14, atol=1e-15)
    assert f.calls == 1


def test_make_graph_of_what_jit_runs() -> None:
    """The graph takes the function's arguments first, captured arrays after."""
    w = np.ones(3)
    graph = gl.make_graph(lambda x, s: np.sum(x * w * s))(X, 2.0)
    assert [repr(s) for s in graph.input_specs()] == ["float64[3]", "float64[]", "float64[3]"]
    with pytest.raises(ArgumentError, match="cannot trace an argument"):
        gl.make_graph(lambda x: x)("text")


def test_a_graph_runs() -> None:
    """Unpickled, too; the inputs must fit."""
    graph = pickle.loads(pickle.dumps(gl.make_graph(lambda x, y: (np.sin(x) * y, np.sum(y)))(np.ones(3), 2.0)))
    first, second = gl.jit(graph)(np.arange(3.0), 4.0)
    np.testing.assert_allclose(first, np.sin(np.arange(3.0)) * 4.0)
    assert second == 4.0
    with pytest.raises(ArgumentError, match=r"expected: float64\[3\], float64\[\]\n  got: float64\[2\], float64\[\]"):
        gl.jit(graph)(np.ones(2), 4.0)
    with pytest.raises(ArgumentError, match="do not fit the graph"):
        gl.jit(graph)(np.ones(3))
    assert gl.grad(lambda x: np.sum(gl.jit(graph)(x, 2.0)[0]))(np.zeros(3)).tolist() == [2.0, 2.0, 2.0]
