"""`grad`, `value_and_grad` and `elementwise_grad`: what goes in, what comes out, what is refused."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, DTypeError, OutputError

X = np.array([0.5, -1.25, 2.0])


def three(a: Any, b: Any, c: Any) -> Any:
    """Return a function of three scalars whose partials all differ: bc, ac, ab."""
    return a * b * c


class Units(np.ndarray):
    """An array subclass that means something else by an operator."""


class Point(NamedTuple):
    x: Any
    y: Any


@dataclasses.dataclass
class Layer:
    w: Any
    b: Any
    scale: Any = None


# -- argnums -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argnums", "expected"),
    [
        (0, 15.0),
        (1, 10.0),
        (-1, 6.0),
        (-3, 15.0),
        ((0,), (15.0,)),
        ([2, 0], (6.0, 15.0)),
        ((-1, 0), (6.0, 15.0)),
        ((0, 1, 2), (15.0, 10.0, 6.0)),
    ],
)
def test_argnums_choose_and_order_the_gradients(argnums: Any, expected: Any) -> None:
    """An int gives one gradient, a sequence a tuple in the order asked for."""
    assert gl.grad(three, argnums)(2.0, 3.0, 5.0) == expected
    value, gradient = gl.value_and_grad(three, argnums)(2.0, 3.0, 5.0)
    assert value == 30.0
    assert gradient == expected
    assert gl.elementwise_grad(three, argnums)(2.0, 3.0, 5.0) == expected


@pytest.mark.parametrize("argnums", [3, -4, (0, 3), True, (True,), 1.0, None, "0", np.float64(0)], ids=repr)
@pytest.mark.parametrize("transform", [gl.grad, gl.value_and_grad, gl.elementwise_grad, gl.jacobian, gl.hessian])
def test_argnums_out_of_range(transform: Any, argnums: Any) -> None:
    """The error names the transform's argument, what fits and what came."""
    with pytest.raises(ArgumentError) as caught:
        transform(three, argnums)(2.0, 3.0, 5.0)
    error = caught.value
    assert error.argument == "argnums"
    assert "3 positional arguments" in str(error)
    assert error.got == repr(argnums)


@pytest.mark.parametrize("argnums", [(0, 0), (0, -3), ()], ids=repr)
def test_argnums_name_each_argument_once(argnums: Any) -> None:
    """Duplicates, also through negative positions, and no position at all are refused."""
    with pytest.raises(ArgumentError, match="argnums must name each argument once"):
        gl.grad(three, argnums)(2.0, 3.0, 5.0)


def test_keyword_arguments_are_passed_on() -> None:
    """Keywords reach the function and carry no gradient."""

    def f(x: Any, *, power: Any, weights: Any = None) -> Any:
        y = x**power
        return np.sum(y if weights is None else y * weights)

    weights = np.array([1.0, 0.0, 2.0])
    np.testing.assert_allclose(gl.grad(f)(X, power=3), 3 * X**2, rtol=1e-15)
    np.testing.assert_allclose(gl.grad(f)(X, power=2, weights=weights), 2 * X * weights, rtol=1e-15)


# -- has_aux -----------------------------------------------------------------------------------


def test_aux_is_passed_through() -> None:
    """Auxiliary outputs come back as arrays in their containers."""

    def f(x: Any) -> Any:
        y = np.sin(x)
        return np.sum(y), {"y": y, "shapes": [np.sum(x), 3], "none": None, "int": np.argmax(x)}

    gradient, aux = gl.grad(f, has_aux=True)(X)
    np.testing.assert_allclose(gradient, np.cos(X), rtol=1e-15)
    np.testing.assert_array_equal(aux["y"], np.sin(X))
    assert type(aux["y"]) is np.ndarray
    assert aux["shapes"] == [1.25, 3]
    assert aux["none"] is None
    assert aux["int"] == 2
    (value, aux), gradient = gl.value_and_grad(f, has_aux=True)(X)
    assert value == np.sum(np.sin(X))
    assert aux["int"] == 2
    np.testing.assert_allclose(gradient, np.cos(X), rtol=1e-15)


@pytest.mark.parametrize("aux", [(), None, {}], ids=repr)
def test_aux_may_be_empty(aux: Any) -> None:
    """An empty container is an aux like any other."""
    assert gl.grad(lambda x: (x * x, aux), has_aux=True)(3.0) == (6.0, aux)


@pytest.mark.parametrize("out", [1.0, (1.0,), (1.0, 2.0, 3.0), [1.0, 2.0]], ids=repr)
def test_aux_needs_a_pair(out: Any) -> None:
    """Anything but a tuple of two is refused."""
    with pytest.raises(OutputError, match=r"has_aux=True the function must return \(value, aux\)"):
        gl.grad(lambda x: out, has_aux=True)(3.0)


def test_aux_of_an_unknown_kind() -> None:
    """Aux that is no array names its place."""
    with pytest.raises(OutputError, match=r"output\[0\]\['name'\]"):
        gl.grad(lambda x: (x, {"name": "loss"}), has_aux=True)(3.0)


# -- containers --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tree",
    [
        (2.0, 3.0),
        [2.0, 3.0],
        {"b": 2.0, "a": 3.0},
        Point(2.0, 3.0),
        Layer(2.0, 3.0),
        {"deep": [(2.0, None), {"x": Point(3.0, ())}]},
    ],
    ids=lambda t: type(t).__name__,
)
def test_gradient_has_the_structure_of_its_argument(tree: Any) -> None:
    """Containers of every kind go in and come out."""
    from gradloom.pytree import flatten

    def f(t: Any) -> Any:
        a, b = flatten(t)[0]
        return a**2 * b

    gradient = gl.grad(f)(tree)
    leaves, structure = flatten(gradient)
    assert structure == flatten(tree)[1]
    assert type(gradient) is type(tree)
    assert leaves == [12.0, 4.0]


def test_dict_gradient_keeps_the_key_order() -> None:
    """Keys keep the order of the argument, not that of use."""
    gradient = gl.grad(lambda p: p["a"] * p["b"])({"b": 2.0, "a": 3.0})
    assert list(gradient.items()) == [("b", 3.0), ("a", 2.0)]


def test_empty_container_has_an_empty_gradient() -> None:
    """No leaves, no gradient, but a value."""
    assert gl.value_and_grad(lambda p, x: x * 1.0)((), 3.0) == (3.0, ())


def test_leaf_of_a_wrong_kind_names_its_place() -> None:
    """The path into the container stands in the error."""
    with pytest.raises(ArgumentError, match=r"argument 0\['layers'\]\[1\]\.w") as caught:
        gl.grad(lambda p: 1.0)({"layers": [Layer(1.0, 2.0), Layer("w", 2.0)]})
    assert "str" in str(caught.value)


# -- dtypes ------------------------------------------------------------------------------------


def test_python_floats_are_weak() -> None:
    """A Python float leaves float32 arrays float32; its own gradient is a float64."""
    x = np.array([1.0, 2.0], np.float32)
    value, (g_scale, g_x) = gl.value_and_grad(lambda s, x: np.sum(s * x**2 + 1.5), (0, 1))(3.0, x)
    assert value.dtype == np.float32
    assert g_x.dtype == np.float32
    assert g_scale.dtype == np.float64
    assert g_scale == 5.0
    np.testing.assert_array_equal(g_x, 6 * x)


@pytest.mark.parametrize(
    "f",
    [
        lambda s: s + 1,
        lambda s: 2.0 - s,
        lambda s: s * s,
        lambda s: -s / 2,
        lambda s: s**2,
        lambda s: s**1,
        lambda s: s**3.0,
        lambda s: 2.0**s,
        lambda s: s // 2,
        lambda s: s % 2,
        lambda s: abs(+s),
        lambda s: s if s > 0 else -s,
    ],
)
def test_python_arithmetic_of_python_floats_stays_weak(f: Any) -> None:
    """Operators on Python floats give Python floats; NumPy functions give NumPy scalars, which are strong."""
    x = np.array([1.0, 2.0], np.float32)
    assert gl.value_and_grad(lambda s: np.sum(f(s) * x))(3.0)[0].dtype == np.sum(f(3.0) * x).dtype == np.float32
    for g in (np.sin, np.sign, np.absolute, np.square, np.positive, np.sum, np.round, lambda s: np.maximum(s, 1.0)):
        assert gl.value_and_grad(lambda s, g=g: np.sum(g(f(s)) * x))(3.0)[0].dtype == np.float64


def test_explicit_casts_are_strong() -> None:
    """astype gives a NumPy scalar of that dtype: an int8 times 300 is out of range, as in NumPy."""
    _, aux = gl.grad(lambda x: (x, np.sign(x).astype(np.float32) * np.arange(3, dtype=np.int8)), has_aux=True)(1.0)
    assert aux.dtype == (np.float32(1) * np.arange(3, dtype=np.int8)).dtype
    with pytest.raises(ArgumentError, match=r"(?s)a Python integer is out of range.*int8.*300"):
        gl.grad(lambda x: x * np.sum(np.sign(x).astype(np.int8) * 300))(1.0)


def test_numpy_scalars_are_strong() -> None:
    """A NumPy float64 scalar makes float32 arrays float64, as in NumPy; gradients keep their dtypes."""
    x = np.array([1.0, 2.0], np.float32)
    value, (g_scale, g_x) = gl.value_and_grad(lambda s, x: np.sum(s * x), (0, 1))(np.float64(3.0), x)
    assert (value.dtype, g_scale.dtype, g_x.dtype) == (np.float64, np.float64, np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.longdouble])
def test_gradient_has_the_dtype_of_its_argument(dtype: Any) -> None:
    """Every float dtype stays itself."""
    x = X.astype(dtype)
    value, gradient = gl.value_and_grad(lambda x: np.sum(np.exp(x) * 0.5))(x)
    assert value.dtype == dtype
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, np.exp(x) * dtype(0.5), rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_complex_convention(dtype: Any) -> None:
    """The gradient of a real loss u at x + iy is du/dx - i du/dy."""

    def loss(z: Any) -> Any:
        return np.sum(np.abs(z) ** 2 * 0.5 + np.real(z**3))

    z = np.array([1.0 + 2.0j, -0.5 + 0.25j]).astype(dtype)
    h = 1e-6
    wide = z.astype(np.complex128)
    expected = []
    for k in range(2):
        step = np.zeros(2)
        step[k] = h
        along_x = (loss(wide + step) - loss(wide - step)) / (2 * h)
        along_y = (loss(wide + 1j * step) - loss(wide - 1j * step)) / (2 * h)
        expected.append(along_x - 1j * along_y)
    gradient = gl.grad(loss)(z)
    assert gradient.dtype == dtype
    np.testing.assert_allclose(gradient, expected, rtol=1e-6 if dtype is np.complex64 else 1e-8)


def test_holomorphic_derivative_through_real_and_imaginary_part() -> None:
    """For holomorphic f the gradient of its real part is f'."""
    z = 0.7 - 0.3j
    np.testing.assert_allclose(gl.grad(lambda z: np.real(np.sin(z) * z))(z), np.cos(z) * z + np.sin(z), rtol=1e-14)


def test_real_argument_of_a_complex_computation_has_a_real_gradient() -> None:
    """|exp(i x) + 1|^2 = 2 + 2 cos x."""
    gradient = gl.grad(lambda x: np.abs(np.exp(1j * x) + 1) ** 2)(0.4)
    assert gradient.dtype == np.float64
    np.testing.assert_allclose(gradient, -2 * np.sin(0.4), rtol=1e-14)


@pytest.mark.parametrize("value", [3, True, np.int32(3), np.arange(3), np.ones(2, bool), np.uint8(1)], ids=repr)
@pytest.mark.parametrize("transform", [gl.grad, gl.value_and_grad, gl.elementwise_grad, gl.jacobian, gl.hessian])
def test_integers_and_booleans_are_refused(transform: Any, value: Any) -> None:
    """The remedy says how to convert."""
    with pytest.raises(DTypeError, match="cannot differentiate with respect to integers or booleans") as caught:
        transform(lambda x: np.sum(x * 1.0))(value)
    assert "3.0 instead of 3" in caught.value.remedy


@pytest.mark.parametrize(
    "value",
    [
        np.ma.array([1.0, 2.0], mask=[True, False]),
        np.ones((1, 2)).view(np.matrix),
        np.array([1.0, None]),
        np.array(["a"]),
        np.zeros(2, "M8[s]"),
        np.zeros(2, [("a", float)]),
        np.ones(2).view(Units),
        np.ones(2).view(np.recarray),
        "text",
        b"bytes",
        object(),
        {1.0, 2.0},
    ],
    ids=lambda v: type(v).__name__,
)
def test_other_kinds_are_refused(value: Any) -> None:
    """What is not a plain numeric array is refused, as argument and as captured operand."""
    with pytest.raises(ArgumentError, match="cannot differentiate with respect to a value of this kind"):
        gl.grad(lambda x: np.sum(x))(value)
    if isinstance(value, np.ndarray):
        with pytest.raises(ArgumentError, match="cannot take a value of this kind"):
            gl.grad(lambda x: np.sum(x * value))(2.0)
        with pytest.raises(TypeError):
            gl.grad(lambda x: np.sum(value * x))(2.0)


# -- outputs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("out", "got"),
    [
        (lambda x: x, r"float64\[3\]"),
        (lambda x: x[:1], r"float64\[1\]"),
        (lambda x: np.sum(x) + 0j, r"complex128\[\]"),
        (lambda x: np.argmax(x), r"int64\[\]"),
        (lambda x: np.sum(x) > 0, r"bool\[\]"),
        (lambda x: None, "NoneType"),
        (lambda x: "loss", "str"),
        (lambda x: (np.sum(x), 1.0), "tuple"),
        (lambda x: [np.sum(x)], "list"),
        (lambda x: {}, "dict"),
        (lambda x: 3, r"int64\[\]"),
        (lambda x: np.ma.array(1.0), "MaskedArray"),
    ],
)
def test_output_must_be_a_real_scalar(out: Any, got: str) -> None:
    """The error says what came instead."""
    for transform in (gl.grad, gl.value_and_grad):
        with pytest.raises(OutputError, match=f"(?s)the function must return a real scalar.*got: .*{got}"):
            transform(out)(X)


def test_elementwise_grad_takes_one_real_array() -> None:
    """Sums the Jacobian's rows; refuses containers and complex outputs."""
    np.testing.assert_allclose(gl.elementwise_grad(np.tanh)(X), 1 - np.tanh(X) ** 2, rtol=1e-14)
    for out in (lambda x: (x, x), lambda x: x * 1j, lambda x: np.sign(x).astype(int)):
        with pytest.raises(OutputError, match="the function must return one real array"):
            gl.elementwise_grad(out)(X)


def test_output_independent_of_the_input_has_zero_gradient() -> None:
    """Constants, other arguments and captured arrays give zeros of the argument's shape and dtype."""
    x = np.ones((2, 3), np.float32)
    for f in (lambda x: 3.0, lambda x: np.float64(2.0), lambda x: np.sum(X), lambda x: np.sum(np.zeros_like(x))):
        gradient = gl.grad(f)(x)
        assert (gradient.shape, gradient.dtype) == ((2, 3), np.float32)
        np.testing.assert_array_equal(gradient, 0)


def test_unused_argument_has_zero_gradient() -> None:
    """Zeros, never None."""
    ga, gb = gl.grad(lambda a, b: a * a, (0, 1))(3.0, X)
    assert ga == 6.0
    np.testing.assert_array_equal(gb, np.zeros(3))


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), ()])
def test_shapes_of_size_zero_and_no_axes(shape: tuple[int, ...]) -> None:
    """Empty arrays and 0-d arrays are arrays like others."""
    x = np.ones(shape)
    value, gradient = gl.value_and_grad(lambda x: np.sum(x**2))(x)
    assert value == x.size
    assert gradient.shape == shape
    np.testing.assert_array_equal(gradient, 2 * x)


# -- memory ------------------------------------------------------------------------------------


def test_results_alias_nothing() -> None:
    """Value, gradients and aux share memory neither with arguments nor with each other."""
    x, w, c = X.copy(), np.ones(3), np.full(3, 2.0)

    def f(x: Any, w: Any) -> Any:
        return np.sum(x + w), (x, x, x[:2], c, w, np.reshape(x, (3, 1)))

    gradients, aux = gl.grad(f, (0, 1), has_aux=True)(x, w)
    arrays = [*gradients, *aux]
    for k, a in enumerate(arrays):
        assert not any(np.shares_memory(a, b) for b in (x, w, c))
        assert not any(np.shares_memory(a, b) for b in arrays[:k])
        assert a.flags.writeable


def test_same_gradient_twice_does_not_alias() -> None:
    """x and y have the same cotangent, but not the same array; nor do two calls share one."""
    f = gl.grad(lambda x, y: np.sum(x + y), (0, 1))
    gx, gy = f(X, X)
    gx[:] = 7.0
    np.testing.assert_array_equal(gy, 1.0)
    np.testing.assert_array_equal(f(X, X)[0], 1.0)


def test_identity_returns_a_copy() -> None:
    """The value of the identity is a new array."""
    x = np.array(3.0)
    value, _ = gl.value_and_grad(lambda x: x)(x)
    x[()] = 5.0
    assert value == 3.0


@pytest.mark.parametrize(
    "layout",
    [np.asfortranarray, lambda a: a[::-1, ::-1], lambda a: np.repeat(a, 2, 1)[:, ::2], lambda a: a.T.copy().T],
)
def test_layouts_do_not_matter(layout: Any) -> None:
    """Strided, negative, Fortran and read-only inputs give the gradient of the plain array."""
    x = layout(np.arange(6.0).reshape(2, 3))
    frozen = x.view()
    frozen.flags.writeable = False
    expected = gl.grad(lambda x: np.sum(np.sin(x) * x[:, :1]))(np.ascontiguousarray(x))
    for array in (x, frozen):
        np.testing.assert_array_equal(gl.grad(lambda x: np.sum(np.sin(x) * x[:, :1]))(array), expected)


def test_memory_mapped_arrays(tmp_path: Any) -> None:
    """Arrays on disk are arrays."""
    x = np.memmap(tmp_path / "x", float, "w+", shape=(3,))
    x[:] = X
    np.testing.assert_array_equal(
        gl.grad(lambda x: np.sum(np.where(x > 0, x**2, x) * x))(x), np.where(X > 0, 3 * X**2, 2 * X)
    )
    np.testing.assert_array_equal(gl.grad(lambda s: np.sum(x * s))(2.0), np.sum(X))


# -- names -------------------------------------------------------------------------------------


def test_names_and_docstrings_tell_where_a_function_came_from() -> None:
    """The wrapper is named after the function and keeps hold of it."""
    g = gl.grad(three)
    assert g.__name__ == "grad_three"
    assert g.__wrapped__ is three
    assert "Return a function of three scalars" in g.__doc__


@pytest.mark.parametrize("transform", [gl.grad, gl.value_and_grad, gl.elementwise_grad])
def test_only_functions_are_differentiated(transform: Any) -> None:
    """A value in place of the function is refused when the wrapper is made."""
    with pytest.raises(ArgumentError, match="the first argument must be a function"):
        transform(X)


def test_callables_of_every_kind() -> None:
    """Methods, partials, callable objects and ufuncs are functions."""
    import functools

    class Scaled:
        def __init__(self) -> None:
            self.scale = 3.0

        def __call__(self, x: Any) -> Any:
            return x * self.scale

    model = Scaled()
    assert gl.grad(model)(2.0) == 3.0
    model.scale = 4.0
    assert gl.grad(model.__call__)(2.0) == 4.0
    assert gl.grad(functools.partial(three, 2.0))(3.0, 5.0) == 10.0
    assert gl.grad(np.exp)(0.0) == 1.0
