"""NumPy's elementwise functions on tensors: values, gradients, keywords and errors."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, DTypeError, GradloomError, LostGradientError, UnsupportedFunctionError
from gradloom.testing import differences
from gradloom.testing.checks import forward_jacobian, reverse_jacobian

X = np.array([[0.3, -1.7, 2.6], [-0.45, 1.2, 0.8]])
Y = np.array([[1.1], [-0.7]])
Z = X + 1j * np.array([[0.5, 0.2, -0.7], [1.5, -0.3, 0.4]])
POSITIVE = np.abs(X) + 0.2

#: name, function, arguments, step of the differences.
FUNCTIONS: list[tuple[str, Callable[..., Any], tuple[Any, ...], float]] = [
    ("x**2", lambda x: x**2, (X,), 1e-2),
    ("x**3", lambda x: x**3, (X,), 1e-2),
    ("x**0.5", lambda x: x**0.5, (POSITIVE,), 1e-3),
    ("x**-1", lambda x: x**-1, (POSITIVE,), 1e-3),
    ("x**1", lambda x: x**1, (X,), 1e-2),
    ("x**0", lambda x: x**0, (X,), 1e-2),
    ("2**x", lambda x: 2**x, (X,), 1e-2),
    ("power", lambda x: np.power(x, 2), (X,), 1e-2),
    ("power of two", np.power, (POSITIVE, Y), 1e-3),
    ("float_power", np.float_power, (POSITIVE, Y), 1e-3),
    ("divmod quotient", lambda x, y: np.divmod(x, y)[0], (X, Y), 1e-4),
    ("divmod remainder", lambda x, y: np.divmod(x, y)[1], (X, Y), 1e-4),
    ("builtin divmod", lambda x, y: divmod(x, y)[1], (X, Y), 1e-4),
    ("modf fraction", lambda x: np.modf(x)[0], (X,), 1e-3),
    ("modf integer", lambda x: np.modf(x)[1], (X,), 1e-3),
    ("frexp mantissa", lambda x: np.frexp(x)[0], (X,), 1e-3),
    ("frexp exponent", lambda x: np.frexp(x)[1], (X,), 1e-3),
    ("ldexp", lambda x: np.ldexp(x, np.array([1, -2, 3])), (X,), 1e-2),
    ("fabs", np.fabs, (X,), 1e-3),
    ("sign", np.sign, (X,), 1e-3),
    ("sign complex", np.sign, (Z,), 1e-3),
    ("abs", abs, (Z,), 1e-3),
    ("deg2rad", np.deg2rad, (X,), 1e-2),
    ("radians", np.radians, (X,), 1e-2),
    ("rad2deg", np.rad2deg, (X,), 1e-2),
    ("degrees", np.degrees, (X,), 1e-2),
    ("round", np.round, (X,), 1e-3),
    ("round to 1", lambda x: np.round(10 * x, 1), (X,), 1e-4),
    ("round method", lambda x: x.round(2), (X + 0.0013,), 1e-4),
    ("around", lambda x: np.around(x, decimals=-1), (X,), 1e-3),
    ("where", lambda x, y: np.where(x > y, x * y, np.sin(x)), (X, Y), 1e-3),
    ("clip", lambda x: np.clip(x, -0.5, 1.0), (X,), 1e-3),
    ("clip low", lambda x: np.clip(x, -0.5, None), (X,), 1e-3),
    ("clip high", lambda x: np.clip(x, None, 1.0), (X,), 1e-3),
    ("clip names", lambda x: np.clip(x, min=-0.5, max=1.0), (X,), 1e-3),
    ("clip by arrays", lambda x, y: np.clip(x, y, y + 1.0), (X, Y), 1e-3),
    ("clip method", lambda x: x.clip(-0.5, 1.0), (X,), 1e-3),
    ("select", lambda x: np.select([x > 1, x > 0], [x**2, np.sin(x)], -x), (X,), 1e-3),
    ("select default", lambda x: np.select([x > 1, x > 0], [x**2, np.sin(x)]), (X,), 1e-3),
    ("piecewise", lambda x: np.piecewise(x, [x < 0, x > 1], [np.sin, lambda t: t**2, np.exp]), (X,), 1e-3),
    ("piecewise constants", lambda x: np.piecewise(x, [x < 0, x > 1], [-1, np.cos]), (X,), 1e-3),
    ("piecewise one", lambda x: np.piecewise(x, x < 0, [lambda t, a, b=1: a * b * t, 2.0], 3.0, b=2), (X[0],), 1e-3),
    ("piecewise of a scalar", lambda x: np.piecewise(x, [x < 0, x >= 0], [np.sin, np.cos]), (np.float64(0.7),), 1e-3),
    ("nan_to_num", np.nan_to_num, (X,), 1e-2),
    ("nan_to_num complex", np.nan_to_num, (Z,), 1e-2),
    ("sinc", np.sinc, (np.array([0.3, -1.7, 2.0, 0.47, 0.48]),), 1e-2),
    ("i0", np.i0, (X,), 1e-2),
    ("real", np.real, (Z,), 1e-2),
    ("imag", np.imag, (Z,), 1e-2),
    ("real attribute", lambda z: z.real * z.imag, (Z,), 1e-2),
    ("conj", np.conj, (Z,), 1e-2),
    ("conj method", lambda z: z.conj() * z, (Z,), 1e-2),
    ("angle", np.angle, (Z,), 1e-3),
    ("angle in degrees", lambda z: np.angle(z, deg=True), (Z,), 1e-3),
    ("angle of reals", np.angle, (X,), 1e-3),
    ("isclose", lambda x, y: np.isclose(x, y) * x, (X, Y), 1e-3),
    ("isreal", lambda z: np.isreal(z) * z, (Z,), 1e-3),
    ("iscomplex", lambda z: np.iscomplex(z) * z, (Z,), 1e-3),
    ("isposinf", lambda x: np.isposinf(x) * x, (X,), 1e-3),
    ("isneginf", lambda x: np.isneginf(x) * x, (X,), 1e-3),
    ("astype", lambda x: np.astype(x, np.float64) * x, (X,), 1e-2),
    ("astype complex", lambda x: x.astype(complex) * 1j, (X,), 1e-2),
    ("copy", lambda x: x * x.copy(), (X,), 1e-2),
    ("heaviside", lambda x: np.heaviside(x, 0.5) * x, (X,), 1e-3),
    ("unwrap", np.unwrap, (4 * X,), 1e-4),
    ("unwrap axis", lambda x: np.unwrap(x, axis=0, period=1.4), (X,), 1e-4),
    ("unwrap discont", lambda x: np.unwrap(x, discont=4.0), (4 * X,), 1e-4),
    ("isin", lambda x: np.isin(np.round(x), [0, 1]) * x, (X,), 1e-3),
    ("logical", lambda x, y: np.logical_and(x > 0, y > 0) * x + np.logical_not(x) * y, (X, Y), 1e-3),
]
if hasattr(np, "fix"):
    FUNCTIONS.append(("fix", np.fix, (X,), 1e-3))


def label(value: Any) -> str:
    """Return a test name that is the same in every process."""
    return getattr(value, "__name__", str(value))


def _oracle(f: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function in double precision; its NumPy code may know no other."""
    return lambda *args: f(*[np.asarray(a, complex if np.asarray(a).dtype.kind == "c" else float) for a in args])


@pytest.mark.filterwarnings("ignore:numpy.fix is deprecated:DeprecationWarning")
@pytest.mark.parametrize(("f", "args", "step"), [row[1:] for row in FUNCTIONS], ids=[row[0] for row in FUNCTIONS])
class TestFunctions:
    def test_value(self, f: Callable[..., Any], args: tuple[Any, ...], step: float) -> None:
        want = f(*args)
        got = gl.jit(f)(*args)
        assert np.shape(got) == np.shape(want)
        assert np.asarray(got).dtype == np.asarray(want).dtype
        np.testing.assert_allclose(got, want, rtol=1e-14, atol=1e-15)

    def test_gradient(self, f: Callable[..., Any], args: tuple[Any, ...], step: float) -> None:
        if np.asarray(f(*args)).dtype.kind not in "fc":
            with pytest.raises(GradloomError):
                gl.grad(lambda *a: np.sum(f(*a)))(*args)
            return
        for k in range(len(args)):
            want = differences.real_jacobian(_oracle(f), args, k, step)
            for mode in (reverse_jacobian, forward_jacobian):
                np.testing.assert_allclose(mode(f, args, k), want, rtol=1e-8, atol=1e-8, err_msg=mode.__name__)


# -- literal exponents and powers at zero -------------------------------------------------------

EXPONENTS = {0: (0.0, 0.0), 1: (1.0, 0.0), 2: (0.0, 2.0), 3: (0.0, 0.0)}


@pytest.mark.parametrize("n", EXPONENTS)
@pytest.mark.parametrize("form", ["literal", "array", "tensor"])
def test_power_at_zero(n: float, form: str) -> None:
    first, second = EXPONENTS[n]
    x = np.array([0.0, -0.0])
    y = {"literal": n, "array": np.full(2, float(n)), "tensor": None}[form]

    def f(x: Any) -> Any:
        return np.sum(x**y)

    if form == "tensor":
        exponent = np.full(2, float(n))
        slope = gl.grad(lambda x, y: np.sum(x**y))
        np.testing.assert_array_equal(slope(x, exponent), [first] * 2)
        np.testing.assert_array_equal(gl.grad(lambda x, y: np.sum(slope(x, y)))(x, exponent), [second] * 2)
        np.testing.assert_array_equal(gl.jvp(slope, (x, exponent), (np.ones(2), np.zeros(2)))[1], [second] * 2)
        return
    np.testing.assert_array_equal(gl.grad(f)(x), [first] * 2)
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(gl.grad(f)(x)))(x), [second] * 2)
    np.testing.assert_array_equal(gl.jvp(gl.grad(f), (x,), (np.ones(2),))[1], [second] * 2)


@pytest.mark.parametrize("x", [-2.0, -0.5, 0.0, 3.0])
@pytest.mark.parametrize("n", [-2, -1, 0, 1, 2, 3, 5])
def test_integer_powers_everywhere(x: float, n: int) -> None:
    if x == 0 and n < 0:
        return
    want = [n * x ** (n - 1) if n else 0.0, n * (n - 1) * x ** (n - 2) if n * (n - 1) else 0.0]
    slope = gl.grad(lambda x: x**n)
    assert slope(x) == pytest.approx(want[0], rel=1e-15)
    assert gl.grad(slope)(x) == pytest.approx(want[1], rel=1e-15)
    assert gl.jvp(slope, (x,), (1.0,))[1] == pytest.approx(want[1], rel=1e-15)


def test_literal_exponents_take_the_op_that_numpy_takes() -> None:
    names = {2: "square", 0.5: "sqrt", -1: "reciprocal", 1: "positive", 3: "power"}
    for exponent, name in names.items():
        assert [node.op.name for node in gl.make_graph(lambda x, n=exponent: x**n)(1.5)][-1] == name
    integers = gl.make_graph(lambda x: x**2)(np.arange(3))
    assert [node.op.name for node in integers][-1] == "square"


# -- a zero annihilates ---------------------------------------------------------------------------

MASKED: list[tuple[str, Callable[..., Any], list[float], list[float], list[float]]] = [
    ("sqrt", lambda x: np.where(x > 0, np.sqrt(x), 0), [0.0, -0.0, -1.0, 4.0], [0, 0, 0, 0.25], [0, 0, 0, -1 / 32]),
    ("log", lambda x: np.where(x > 0, np.log(x), 0), [0.0, -0.0, -1.0, 4.0], [0, 0, 0, 0.25], [0, 0, 0, -1 / 16]),
    ("x log x", lambda x: np.where(x > 0, x * np.log(x), 0), [0.0, 1.0], [0, 1], [0, 1]),
    ("NaN", lambda x: np.where(np.isnan(x), 0, x * x), [np.nan, 3.0], [0, 6], [0, 2]),
    ("sin of inf", lambda x: np.where(np.isinf(x), 1, x * np.sin(x)), [np.inf, 0.0], [0, 0], [0, 2]),
    ("1/x", lambda x: np.where(x == 0, 0, 1 / x), [0.0, -0.0, 2.0], [0, 0, -0.25], [0, 0, 0.25]),
    ("x/x", lambda x: np.where(x == 0, 1, np.sin(x) / x), [0.0, np.pi], [0, -1 / np.pi], [0, 2 / np.pi**2]),
    ("power", lambda x: np.where(x > 0, x**0.3, 0), [0.0, 1.0], [0, 0.3], [0, -0.21]),
    ("power -2", lambda x: np.where(x != 0, x**-2, 0), [0.0, 1.0], [0, -2], [0, 6]),
    ("x**x", lambda x: np.where(x > 0, x**x, 1), [0.0, 1.0], [0, 1], [0, 2]),
    ("arccosh", lambda x: np.where(x > 1, np.arccosh(x), 0), [1.0, 0.0], [0, 0], [0, 0]),
    ("arcsin", lambda x: np.where(abs(x) < 1, np.arcsin(x), 0), [1.0, -1.0, 2.0, 0.0], [0, 0, 0, 1], [0] * 4),
    ("cbrt", lambda x: np.where(x == 0, 0, np.cbrt(x)), [0.0, 1.0], [0, 1 / 3], [0, -2 / 9]),
    ("log1p", lambda x: np.where(x > -1, np.log1p(x), 0), [-1.0, 0.0], [0, 1], [0, -1]),
    ("overflow", lambda x: np.where(x > 0, x, np.exp(x * 1e3) * 0), [800.0, 1.0], [1, 1], [0, 0]),
    ("hypot", lambda x: np.where(x == 0, 0, np.hypot(x, 0.0)), [0.0, 2.0], [0, 1], [0, 0]),
]


@pytest.mark.parametrize(("f", "x", "first", "second"), [row[1:] for row in MASKED], ids=[row[0] for row in MASKED])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_masked_singularities(f: Callable[..., Any], x: Any, first: Any, second: Any) -> None:
    x = np.array(x)

    def slope(x: Any) -> Any:
        return gl.grad(lambda x: np.sum(f(x)))(x)

    def forward_slope(x: Any) -> Any:
        return gl.jvp(f, (x,), (np.ones(np.shape(x)),))[1]

    for gradient in (slope, forward_slope):
        np.testing.assert_allclose(gradient(x), first, rtol=1e-14, atol=1e-16)
        np.testing.assert_allclose(gl.grad(lambda x, g=gradient: np.sum(g(x)))(x), second, rtol=1e-13, atol=1e-16)
        np.testing.assert_allclose(gl.jvp(gradient, (x,), (np.ones_like(x),))[1], second, rtol=1e-13, atol=1e-16)
    for t, want in zip(x, first, strict=True):
        np.testing.assert_allclose(gl.grad(f)(t), want, rtol=1e-14, atol=1e-16)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_masked_division() -> None:
    x, y = np.array([1.0, 0.0, 3.0]), np.array([0.0, 0.0, 2.0])

    def f(x: Any, y: Any) -> Any:
        return np.sum(np.where(y == 0, 0.0, x / y))

    to_x, to_y = gl.grad(f, argnums=(0, 1))(x, y)
    np.testing.assert_array_equal(to_x, [0, 0, 0.5])
    np.testing.assert_array_equal(to_y, [0, 0, -0.75])
    for k, j, want in ((0, 0, 0.0), (0, 1, -0.25), (1, 0, -0.25), (1, 1, 0.75)):
        second = gl.grad(lambda *a, k=k: np.sum(gl.grad(f, argnums=k)(*a)), argnums=j)(x, y)
        np.testing.assert_array_equal(second, [0, 0, want])


# -- ties, edges and special values -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "x", "want"),
    [
        (lambda x: np.clip(x, 0.0, 1.0), [0.0, 1.0, -1.0, 2.0, 0.5], [0.5, 0.5, 0, 0, 1]),
        (lambda x: np.maximum(x, x), [1.0, 2.0], [1, 1]),
        (abs, [0.0, -2.0], [0, -1]),
        (np.fabs, [0.0, -2.0], [0, -1]),
        (np.nan_to_num, [np.nan, np.inf, -np.inf, 2.0], [0, 0, 0, 1]),
        (np.sinc, [0.0, 1.0, 1e-9, 1e-200], [0, -1, -(np.pi**2) / 3 * 1e-9, -(np.pi**2) / 3 * 1e-200]),
        (lambda x: np.logaddexp(x, x), [-np.inf, np.inf, 3.0], [1, 1, 1]),
        (lambda x: np.logaddexp(0.0, x), [-800.0, 800.0, 0.0], [0, 1, 0.5]),
        (lambda x: np.heaviside(x, 0.5), [0.0, 1.0], [0, 0]),
        (lambda x: np.copysign(x, -1.0), [2.0, -2.0, 0.0], [-1, 1, 0]),
        (lambda x: np.fmod(x, 1.0) + np.remainder(x, 1.0), [1.5, -1.5], [2, 2]),
        (np.sign, [0.0, 3.0], [0, 0]),
    ],
    ids=label,
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_gradient_at_special_points(f: Callable[..., Any], x: Any, want: Any) -> None:
    x = np.array(x)
    np.testing.assert_allclose(gl.grad(lambda x: np.sum(f(x)))(x), want, rtol=1e-14, atol=1e-300)
    np.testing.assert_allclose(gl.jvp(f, (x,), (np.ones_like(x),))[1], want, rtol=1e-14, atol=1e-300)


def test_sinc_has_derivatives_of_high_order_at_zero() -> None:
    f = np.sinc
    for order in range(1, 7):
        f = gl.grad(f)
        want = 0.0 if order % 2 else (-1) ** (order // 2) * np.pi**order / (order + 1)
        assert f(0.0) == pytest.approx(want, rel=1e-13, abs=1e-13)


def test_limits_share_a_tie() -> None:
    to_x, to_low, to_high = gl.grad(lambda *a: np.clip(*a), argnums=(0, 1, 2))(1.0, 1.0, 3.0)
    assert (to_x, to_low, to_high) == (0.5, 0.5, 0.0)


def test_complex_nan_to_num() -> None:
    z = np.array([complex(np.nan, 1.0), complex(np.inf, -np.inf)])
    np.testing.assert_array_equal(gl.jit(np.nan_to_num)(z), np.nan_to_num(z))
    np.testing.assert_array_equal(
        gl.jit(lambda z: np.nan_to_num(z, nan=1.0, posinf=2.0, neginf=3.0))(z), [1 + 1j, 2 + 3j]
    )


@pytest.mark.parametrize("x", [np.array([np.inf, -np.inf, -1.75, -0.0, 0.0, 2.0, np.nan]), np.float64(-2.5)])
@pytest.mark.parametrize("f", [np.modf, np.frexp], ids=label)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_parts_of_floats(f: Callable[..., Any], x: Any) -> None:
    for got, want in zip(gl.jit(f)(x), f(x), strict=True):
        np.testing.assert_array_equal(np.where(np.isfinite(x) | (got == want), got, want), want)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(np.signbit(got), np.signbit(want))


# -- values on demand, and what is known without them ---------------------------------------------------


def test_comparisons_of_whole_arrays() -> None:
    seen: list[Any] = []

    def f(x: Any) -> Any:
        nan = x * np.nan
        seen[:] = [
            np.allclose(x, x + 1e-12),
            np.allclose(x, x + 1.0),
            np.allclose(nan, nan, equal_nan=True),
            np.allclose(x, [0.3, 0.4], rtol=0, atol=1e-3),
            np.array_equal(x, x),
            np.array_equal(x, x[:1]),
            np.array_equal(nan, nan),
            np.array_equal(nan, nan, equal_nan=True),
            np.array_equiv(x, np.stack([x, x])),
            np.array_equiv(x, np.ones(3)),
        ]
        return np.sum(x)

    gl.grad(f)(np.array([0.3, 0.4]))
    assert seen == [True, False, True, True, True, False, False, True, True, False]
    assert all(type(value) is bool for value in seen)


def test_real_if_close_looks_at_the_value() -> None:
    assert gl.grad(lambda z: np.real(np.real_if_close(z)) ** 2)(3 + 0j) == 6
    kinds = []
    gl.grad(lambda z: [kinds.append(np.real_if_close(z).dtype.kind), np.real(z)][1])(3 + 1e-15j)
    gl.grad(lambda z: [kinds.append(np.real_if_close(z).dtype.kind), np.real(z)][1])(3 + 1j)
    gl.grad(lambda z: [kinds.append(np.real_if_close(z, tol=0.1).dtype.kind), np.real(z)][1])(3 + 0.01j)
    assert kinds == ["f", "c", "f"]


def test_what_is_known_without_a_value() -> None:
    def f(x: Any) -> Any:
        assert (np.shape(x), np.ndim(x), np.size(x), np.size(x, 1), np.size(x, (0, 1))) == ((2, 3), 2, 6, 3, 6)
        assert np.isrealobj(x)
        assert not np.iscomplexobj(x)
        assert np.iscomplexobj(x * 1j)
        assert np.result_type(x, np.complex64) == np.complex64
        assert np.result_type(x, 1.0) == np.float32
        assert np.can_cast(x, np.float64)
        assert not np.can_cast(x, np.int64)
        assert np.can_cast(x, np.float16, casting="same_kind")
        assert np.common_type(x, np.arange(3)) is np.float64
        assert np.min_scalar_type(x) == np.float32
        return x

    gl.jit(f)(X.astype(np.float32))


KEEP_FLOAT32: dict[str, Callable[..., Any]] = {
    "deg2rad": np.deg2rad,
    "exp": np.exp,
    "sinc": np.sinc,
    "clip": lambda x: np.clip(x, 0, 1),
    "square": lambda x: x**2,
    "nan_to_num": np.nan_to_num,
    "where": lambda x: np.where(x > 0, x, 0),
    "logaddexp": lambda x: np.logaddexp(0, x),
    "power": lambda x: x**x,
    "arctan2": lambda x: np.arctan2(x, 1),
    "exponential": lambda x: 2**x,
    "unwrap": lambda x: np.unwrap(x, period=1),
}


@pytest.mark.parametrize("name", KEEP_FLOAT32)
def test_float32_stays(name: str) -> None:
    f = KEEP_FLOAT32[name]
    x = np.array([0.3, 1.7], np.float32)
    out, pullback = gl.vjp(f, x)
    assert out.dtype == f(x).dtype == np.float32
    assert pullback(np.ones_like(out))[0].dtype == np.float32


def test_promotion_of_integers() -> None:
    for ufunc in (np.deg2rad, np.fabs, np.sqrt, np.exp):
        for dtype in (np.int8, np.int32, np.int64, np.bool_):
            x = np.array([1, 0], dtype)
            assert gl.jit(ufunc)(x).dtype == ufunc(x).dtype
    assert gl.jit(np.float_power)(np.float32(2), np.float32(3)).dtype == np.float64


SPECIAL_COMPLEX = np.array([np.inf + 0j, complex(0.0, -0.0), 1 + 1j, complex(-np.inf, np.nan), -2j])


@pytest.mark.parametrize("y", [-1, 0.5, 1, 2, 3])
@pytest.mark.parametrize("x", [SPECIAL_COMPLEX, SPECIAL_COMPLEX.astype(np.complex64)])
@pytest.mark.parametrize("f", [operator.pow, np.power, np.float_power])
def test_complex_powers_at_special_values(f: Any, x: Any, y: float) -> None:
    """The operator and the function differ there, and so they do here; NaNs and zeros with their signs."""
    with np.errstate(all="ignore"):
        got, expected = gl.jit(f, static_argnums=1)(x, y), f(x, y)
    assert got.dtype == expected.dtype
    for part in (np.real, np.imag):
        np.testing.assert_allclose(part(got), part(expected), rtol=1e-6)
        zero = part(expected) == 0
        np.testing.assert_array_equal(np.signbit(part(got)[zero]), np.signbit(part(expected)[zero]))


@pytest.mark.parametrize("y", [0, 1, 2, 3, 2.0, 0.5])
@pytest.mark.parametrize("f", [operator.pow, np.power])
def test_powers_of_booleans(f: Any, y: float) -> None:
    x = np.array([True, False])
    got, expected = gl.jit(f, static_argnums=1)(x, y), f(x, y)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


# -- arguments that cannot be honoured, and errors ---------------------------------------------------------


@pytest.mark.parametrize(
    "f",
    [
        lambda x: np.clip(x, 0, 1, out=np.empty(3)),
        lambda x: np.round(x, out=np.empty(3)),
        lambda x: np.sin(x, out=np.empty(3)),
        lambda x: np.isposinf(x, out=np.empty(3, bool)),
        *([lambda x: np.fix(x, out=np.empty(3))] if hasattr(np, "fix") else []),
    ],
)
def test_out_is_refused(f: Callable[..., Any]) -> None:
    with pytest.raises(LostGradientError, match=r"test_elementwise\.py"):
        gl.grad(lambda x: np.sum(f(x)))(np.ones(3))


@pytest.mark.parametrize(
    ("f", "word"),
    [
        (lambda x: np.clip(x, 0, 1, where=x > 0), "where"),
        (lambda x: np.sin(x, where=np.array([True, False, True])), "where"),
        (lambda x: np.nan_to_num(x, copy=False), "copy"),
        (lambda x: np.astype(x, float, device="gpu"), "device"),
    ],
)
def test_arguments_are_refused(f: Callable[..., Any], word: str) -> None:
    with pytest.raises(UnsupportedFunctionError, match=word):
        gl.grad(lambda x: np.sum(f(x)))(np.ones(3))


@pytest.mark.parametrize(
    ("f", "error", "word"),
    [
        (lambda x: np.select([x > 0], [x, x]), ArgumentError, "1 and 2"),
        (lambda x: np.select([x], [x]), ArgumentError, "condlist"),
        (lambda x: np.piecewise(x, [x > 0], [1, 2, 3]), ArgumentError, "functions"),
        (lambda x: np.clip(x, 0, 1, min=3), ArgumentError, "twice"),
        (lambda x: np.invert(x), DTypeError, "invert"),
        (lambda x: np.maximum(x, np.ones(4)), ValueError, r"\(3,\) and \(4,\)"),
    ],
)
def test_errors_name_what_is_wrong(f: Callable[..., Any], error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word) as caught:
        gl.grad(lambda x: np.sum(f(x)))(np.ones(3))
    assert "test_elementwise.py" in str(caught.value)


@pytest.mark.parametrize(
    "f",
    [
        lambda z: np.add(z, 1, dtype="f8"),
        lambda z: np.add(np.real(z), 1, dtype="i4"),
        lambda z: np.matmul(z, z, dtype="f8"),
        lambda z: np.insert(np.real(z), 0, 1j),
        lambda z: np.bincount(np.array([0, 1]), weights=z),
        lambda z: np.interp(z, [0.0, 1.0], [1.0, 2.0]),
        lambda z: np.digitize(z, [0.0, 1.0]),
    ],
)
def test_no_part_of_a_number_is_lost(f: Callable[..., Any]) -> None:
    """Where NumPy refuses to cast, so do tensors."""
    z = np.array([1.0 + 2.0j, 0.5j])
    with pytest.raises(TypeError):
        f(z)
    for run in (lambda: gl.jit(f)(z), lambda: gl.compute(f(gl.tensor(z)))):
        with pytest.raises(DTypeError):
            run()


@pytest.mark.parametrize("dtype", ["?", "i1", "i4", "i8", "u1", "f2", "f4", "f8"])
@pytest.mark.parametrize(
    "f",
    [
        np.unwrap,
        lambda x: np.unwrap(x, discont=4),
        lambda x: np.unwrap(x * np.int8(1), period=5) if x.dtype.kind == "i" else x,
        lambda x: np.unwrap(x, period=4) if x.dtype.kind != "u" else x,
        np.angle,
        lambda x: np.angle(x, deg=True),
        np.i0,
        lambda x: np.poly(x[:3]),
    ],
)
def test_precision_of_small_numbers(f: Callable[..., Any], dtype: str) -> None:
    x = np.array([0, 3, 7, 1, 9, 2]).astype(dtype)
    expected = f(x)
    found = gl.jit(f)(x)
    assert found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=2e-3 if expected.dtype == np.float16 else 1e-5)


def test_ufunc_keyword_dtype() -> None:
    x = np.array([0.5, 1.5])
    assert gl.jit(lambda x: np.add(x, x, dtype=np.float32))(x).dtype == np.float32
    assert gl.grad(lambda x: np.sum(np.multiply(x, x, dtype=np.float32)))(x).dtype == np.float64


def test_isclose_of_unsigned_integers() -> None:
    """Differences below zero do not wrap around, and limits beyond the dtype compare, as in NumPy."""
    x, y = np.array([1, 5, 200], np.uint8), np.array([2, 3, 201], np.uint8)
    for other in (y, 300, -1, 2, True):
        want = np.isclose(x, other, atol=1.5)
        np.testing.assert_array_equal(gl.jit(lambda x, other=other: np.isclose(x, other, atol=1.5))(x), want)
        np.testing.assert_array_equal(gl.jit(lambda x, y: np.isclose(x, y, atol=1.5))(x, other), want)


def test_booleans_of_python() -> None:
    """They are arrays of a bool to functions that NumPy writes in Python."""
    x, mask = np.array([1, 2, 3], np.int16), np.array([True, False])
    for f, a in (
        (lambda x: np.float_power(x, True), x),
        (lambda x: np.clip(x, True, None), mask),
        (lambda x: np.isclose(x, True), mask),
        (lambda x: np.choose(x, [np.ones(2, np.float32), 2.5]), mask),
    ):
        np.testing.assert_array_equal(gl.jit(f)(a), f(a), strict=True)
