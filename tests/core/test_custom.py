"""`custom_gradient` and `stop_gradient`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, GradloomError, LostGradientError, MissingRuleError, OutputError, ShapeError

X = np.array([0.5, 1.25, 2.0])


@gl.custom_gradient
def tripled(x: Any) -> Any:
    """Return sin(x), with three times its gradient."""
    return np.sin(x), lambda g: 3.0 * g * np.cos(x)


@gl.custom_gradient
def product(x: Any, p: Any) -> Any:
    """Return x * w + b and its square, of an argument and a container."""
    out = x * p["w"] + p["b"]

    def pullback(g: Any) -> Any:
        first, second = g["out"], g["square"]
        total = first + 2 * out * second
        return total * p["w"], {"w": np.sum(total * x), "b": 10.0 * np.sum(total)}

    return {"out": out, "square": out**2}, pullback


# -- custom_gradient ---------------------------------------------------------------------------


def test_own_pullback_serves_both_modes_and_all_orders() -> None:
    """Derivatives are those of the pullback, not of the function."""
    np.testing.assert_array_equal(tripled(X), np.sin(X))
    np.testing.assert_allclose(gl.grad(lambda x: np.sum(tripled(x)))(X), 3 * np.cos(X), rtol=1e-15)
    np.testing.assert_allclose(gl.jvp(tripled, (X,), (X,))[1], 3 * np.cos(X) * X, rtol=1e-15)
    np.testing.assert_allclose(gl.linearize(tripled, X)[1](X), 3 * np.cos(X) * X, rtol=1e-15)
    np.testing.assert_allclose(gl.grad(gl.grad(tripled))(0.5), -3 * np.sin(0.5), rtol=1e-15)
    np.testing.assert_allclose(gl.hessian(lambda x: np.sum(tripled(x)))(X), np.diag(-3 * np.sin(X)), atol=1e-15)
    np.testing.assert_allclose(gl.jacobian(tripled, mode="fwd")(X), np.diag(3 * np.cos(X)), atol=1e-15)


def test_containers_and_several_arguments() -> None:
    """Arguments, outputs and results are containers."""
    p = {"w": 2.0, "b": -1.0}
    out = product(X, p)
    np.testing.assert_array_equal(out["square"], (2 * X - 1) ** 2)
    loss = lambda x, p: np.sum(product(x, p)["out"])  # noqa: E731
    gx, gp = gl.grad(loss, (0, 1))(X, p)
    np.testing.assert_array_equal(gx, [2.0, 2.0, 2.0])
    assert gp == {"w": np.sum(X), "b": 30.0}
    gx, gp = gl.grad(lambda x, p: np.sum(product(x, p)["square"]), (0, 1))(X, p)
    np.testing.assert_allclose(gx, 4 * (2 * X - 1), rtol=1e-15)
    assert gp["b"] == 20 * np.sum(2 * X - 1)


def test_under_every_transform() -> None:
    """jit, vmap, value on demand, and inside each other."""
    np.testing.assert_allclose(gl.jit(gl.grad(tripled))(0.5), 3 * np.cos(0.5), rtol=1e-15)
    np.testing.assert_allclose(gl.grad(gl.jit(tripled))(0.5), 3 * np.cos(0.5), rtol=1e-15)
    np.testing.assert_array_equal(gl.vmap(tripled)(X), np.sin(X))
    np.testing.assert_allclose(gl.vmap(gl.grad(tripled))(X), 3 * np.cos(X), rtol=1e-15)
    batch = np.stack([X, 2 * X])
    np.testing.assert_allclose(gl.vmap(lambda x: product(x, {"w": 1.0, "b": 0.0})["square"])(batch), batch**2)
    assert gl.grad(lambda x: tripled(x) * 2 if tripled(x) > 0 else x)(0.5) == 6 * np.cos(0.5)
    nested = gl.custom_gradient(lambda x: (tripled(x) * x, lambda g: g * tripled(x)))
    np.testing.assert_allclose(gl.grad(nested)(0.5), np.sin(0.5), rtol=1e-15)
    np.testing.assert_allclose(gl.grad(gl.grad(nested))(0.5), 3 * np.cos(0.5), rtol=1e-15)


def test_closures_are_seen_as_they_are() -> None:
    """Numbers and arrays that the function closes over may change between calls."""
    scale = 2.0
    w = np.ones(3)
    f = gl.custom_gradient(lambda x: (np.sum(x * w) * scale, lambda g: g * scale * w))
    for scale in (2.0, 3.0, -0.0):
        w[:] = scale + 1
        np.testing.assert_array_equal(gl.grad(f)(X), scale * w)


def test_pullback_may_ignore_arguments() -> None:
    """Zeros and constants are results."""
    f = gl.custom_gradient(lambda x, y: (x * y, lambda g: (np.zeros(3), 5.0)))
    gx, gy = gl.grad(lambda x, y: np.sum(f(x, y)), (0, 1))(X, 2.0)
    np.testing.assert_array_equal(gx, np.zeros(3))
    assert gy == 5.0


def test_gradients_take_the_dtype_of_their_argument() -> None:
    """Whatever the pullback returns: float64 for float32, ints, complex for real."""
    for result in (lambda g: g * np.ones(3), lambda g: np.ones(3, int), lambda g: np.ones(3) * (1.0 + 2.0j)):
        f = gl.custom_gradient(lambda x, result=result: (np.sum(x), result))
        for dtype in (np.float32, np.float64, np.complex64):
            loss = lambda x, f=f: np.real(f(x)) if x.dtype.kind == "c" else f(x)  # noqa: E731
            gradient = gl.grad(loss)(X.astype(dtype))
            assert gradient.dtype == dtype
            np.testing.assert_array_equal(np.real(gradient), np.ones(3))


def test_integer_arguments() -> None:
    """They are passed along and get no gradient."""
    f = gl.custom_gradient(lambda x, n: (x**n, lambda g: (g * n * x ** (n - 1), 0.0)))
    assert gl.grad(lambda x: f(x, 3))(2.0) == 12.0
    np.testing.assert_array_equal(gl.jit(gl.grad(lambda x, n: f(x, n)))(2.0, 3), 12.0)


def test_name_and_doc_are_kept() -> None:
    """Wrapped like any decorator."""
    assert tripled.__name__ == "tripled"
    assert tripled.__doc__.startswith("Return sin(x)")


@pytest.mark.parametrize("out", [1.0, (1.0,), (1.0, 2.0), None, (1.0, None)])
def test_function_must_return_a_pair(out: Any) -> None:
    """Inside and outside of a trace."""
    f = gl.custom_gradient(lambda x: out)
    for call in (lambda: f(2.0), lambda: gl.grad(f)(2.0)):
        with pytest.raises(OutputError, match=r"the function must return \(out, pullback\)"):
            call()


def test_pullback_must_fit() -> None:
    """Structure and shapes of its results."""
    wrong_shape = gl.custom_gradient(lambda x: (np.sum(x), lambda g: np.ones(2) * g))
    with pytest.raises(ShapeError, match=r"(?s)the pullback returned a wrong shape.*\(3,\).*\(2,\)"):
        gl.grad(wrong_shape)(X)
    one_of_two = gl.custom_gradient(lambda x, y: (np.sum(x) * y, lambda g: g))
    with pytest.raises(ArgumentError, match="one result per argument"):
        gl.grad(one_of_two)(X, 2.0)
    nothing = gl.custom_gradient(lambda x: (np.sum(x), lambda g: None))
    with pytest.raises(ArgumentError, match="one result per argument"):
        gl.grad(nothing)(X)


def test_closing_over_a_differentiated_tensor_is_refused() -> None:
    """It would get no gradient; stopping it says that none is wanted."""

    def outer(x: Any, stop: Any) -> Any:
        y = stop(x * 2.0)
        f = gl.custom_gradient(lambda z: (z * y, lambda g: g * y))
        return f(x)

    with pytest.raises(LostGradientError, match="closes over a tensor that is being differentiated"):
        gl.grad(lambda x: outer(x, lambda y: y))(3.0)
    assert gl.grad(lambda x: outer(x, gl.stop_gradient))(3.0) == 6.0


def test_closing_over_a_tensor_of_jit() -> None:
    """Under jit nothing is being differentiated yet; the gradient of the jitted function still refuses."""

    @gl.jit
    def outer(x: Any) -> Any:
        y = x * 2.0
        return gl.custom_gradient(lambda z: (z * y, lambda g: g * y))(x)

    assert outer(3.0) == 18.0
    with pytest.raises(LostGradientError, match="closes over a tensor that is being differentiated"):
        gl.grad(outer)(3.0)


def test_batches_with_whole_arguments_and_constant_results() -> None:
    """Under vmap an argument that is not mapped adds up its gradients over the batch."""

    @gl.custom_gradient
    def scaled(x: Any, w: Any, unused: Any) -> Any:
        out = x * w
        return (out, np.ones(2)), lambda g: (g[0] * w, np.sum(g[0] * x), 5.0)

    def total(x: Any, w: Any, unused: Any) -> Any:
        out, ones = gl.vmap(scaled, in_axes=(0, None, None))(x, w, unused)
        assert ones.shape == (2, 2)
        return np.sum(out * np.array([[1.0], [2.0]])) + np.sum(ones)

    x = np.stack([X, -X])
    value, (gx, gw, gu) = gl.value_and_grad(total, (0, 1, 2))(x, 3.0, 1.0)
    assert value == 3 * np.sum(X) - 6 * np.sum(X) + 4
    np.testing.assert_array_equal(gx, np.broadcast_to([[3.0], [6.0]], (2, 3)))
    assert gw == np.sum(X) - 2 * np.sum(X)
    assert gu == 10.0
    mapped = gl.vmap(gl.grad(lambda x, w: np.sum(scaled(x, w, 0.0)[0] ** 2), 1))(x, np.array([2.0, 3.0]))
    np.testing.assert_allclose(mapped, [4 * np.sum(X**2), 6 * np.sum(X**2)], rtol=1e-14)


def test_the_pullback_stands_once_in_the_graph() -> None:
    """What the results for several arguments share is not computed for each, in either mode."""

    @gl.custom_gradient
    def f(x: Any, y: Any, z: Any) -> Any:
        def pullback(g: Any) -> Any:
            shared = -g * np.sin(x * y * z)
            return shared * y * z, shared * x * z, shared * x * y

        return np.cos(x * y * z), pullback

    def count(graph: Any) -> int:
        return [node.op.name for node in graph].count("negative")

    assert count(gl.make_graph(gl.grad(f, (0, 1, 2)))(0.5, 2.0, 3.0)) == 1
    assert count(gl.make_graph(lambda *x: gl.jvp(f, x, (1.0, 2.0, 3.0)))(0.5, 2.0, 3.0)) <= 3
    np.testing.assert_allclose(gl.grad(f, (0, 1, 2))(0.5, 2.0, 3.0), -np.sin(3.0) * np.array([6.0, 1.5, 1.0]))
    np.testing.assert_allclose(gl.jvp(f, (0.5, 2.0, 3.0), (1.0, 2.0, 3.0))[1], -np.sin(3.0) * 12.0)
    np.testing.assert_allclose(gl.grad(lambda x: f(x, x, 1.0))(0.5), -np.sin(0.25))
    gl.check_grads(f, (0.5, 2.0, 3.0), order=2)


def test_errors_that_numpy_replaced_come_out_again() -> None:
    """NumPy turns what a nested list of tensors raises into an error of its own."""
    for f in (lambda x: (np.array([x, 1.0]), lambda g: g), lambda x: (x, lambda g: np.array([g, 1.0]))):
        with pytest.raises(GradloomError):
            gl.grad(lambda x, f=f: np.sum(gl.custom_gradient(f)(x)))(2.0)


def test_third_order_and_hvp() -> None:
    """Residuals are differentiated by ordinary rules, in both modes, to any order."""

    @gl.custom_gradient
    def cube(x: Any) -> Any:
        square = x**2
        return square * x, lambda g: 3.0 * g * square

    for n, expected in enumerate([12.0, 12.0, 6.0, 0.0], start=1):
        f: Any = cube
        for _ in range(n):
            f = gl.grad(f)
        assert f(2.0) == expected
        g: Any = cube
        for _ in range(n):
            g = lambda x, g=g: gl.jvp(g, (x,), (1.0,))[1]  # noqa: E731
        assert g(2.0) == expected
    np.testing.assert_allclose(gl.hvp(lambda x: np.sum(cube(x)))(X, X), 6 * X * X, rtol=1e-14)
    gl.check_grads(cube, (X,), order=3)


def test_exceptions_inside_come_through() -> None:
    """From the function and from the pullback; the next call works."""
    fail = True

    def f(x: Any) -> Any:
        def pullback(g: Any) -> Any:
            if fail:
                raise KeyError("own")
            return g

        return x * 1.0, pullback

    wrapped = gl.custom_gradient(f)
    with pytest.raises(KeyError, match="own"):
        gl.grad(wrapped)(1.0)
    fail = False
    assert gl.grad(wrapped)(1.0) == 1.0


# -- stop_gradient -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "pull",
    [
        lambda g: np.clip(g, -1, 1),
        lambda g: g * np.abs(g),
        lambda g: np.where(g > 0, g, 0.0),
        lambda g: g / np.sqrt(1 + np.sum(g**2)),
        np.sign,
        lambda g: np.round(g, 2),
        lambda g: 2.0 * gl.stop_gradient(g),
    ],
)
def test_pullbacks_that_are_not_linear(pull: Any) -> None:
    """Reverse mode takes them as they are; forward mode needs their transpose, which there is not."""
    clipped = gl.custom_gradient(lambda x: (x * 1.0, lambda g: (pull(g),)))
    f = lambda x: np.sum(clipped(x) ** 2)  # noqa: E731
    x = np.array([1.0, -0.2])
    np.testing.assert_allclose(gl.grad(f)(x), pull(2 * x), rtol=1e-14)
    assert gl.jacobian(gl.grad(f), mode="rev")(x).shape == (2, 2)
    transforms: list[Any] = [
        lambda: gl.jvp(clipped, (x,), (x,)),
        lambda: gl.linearize(clipped, x),
        lambda: gl.jacobian(clipped, mode="fwd")(x),
        lambda: gl.hessian(f)(x),
        lambda: gl.hvp(f)(x, x),
    ]
    for transform in transforms:
        with pytest.raises(MissingRuleError, match="custom_gradient: nothing can be pushed forward") as caught:
            transform()
        assert "test_custom.py" in str(caught.value.location)


def test_stop_gradient() -> None:
    """Values pass, derivatives do not, in both modes."""
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(x * gl.stop_gradient(x)))(X), X)
    out, tangent = gl.jvp(lambda x: gl.stop_gradient(x) * 2.0 + x, (X,), (np.ones(3),))
    np.testing.assert_array_equal(out, 3 * X)
    np.testing.assert_array_equal(tangent, np.ones(3))
    np.testing.assert_array_equal(gl.vmap(gl.stop_gradient)(X), X)
    np.testing.assert_array_equal(gl.jit(gl.stop_gradient)(X), X)


def test_stop_gradient_of_containers_and_arrays() -> None:
    """Containers keep their structure; outside a trace everything comes back as it is."""
    assert gl.stop_gradient({"a": (X, 2.0), "b": None})["a"][0] is X
    f = lambda p: p["a"] * gl.stop_gradient(p)["b"][0] + p["b"][0]  # noqa: E731
    assert gl.grad(f)({"a": 2.0, "b": [3.0]}) == {"a": 3.0, "b": [1.0]}
