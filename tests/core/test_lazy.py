"""The explicit lazy graph: `tensor`, `gradients`, `compute` and `Tape`."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, ConcreteValueError, DTypeError, GradloomError, LostGradientError, ShapeError

X = np.array([0.5, -1.25, 2.0])


def abc() -> tuple[Any, Any, Any]:
    """Return the three tensors of the seed documents."""
    return gl.tensor(3.0), gl.tensor(2.0), gl.tensor(1.0)


def test_tensor_of_a_list() -> None:
    np.testing.assert_array_equal(gl.compute(gl.tensor([1.0, 2.0]) * 2.0)[0], [2.0, 4.0])


def test_seed_programs() -> None:
    """a*b + c has gradients 2, 3, 1, by gradients and by tape."""
    a, b, c = abc()
    y = a * b + c
    assert gl.compute(*gl.gradients(y, [a, b, c])) == (2.0, 3.0, 1.0)
    with gl.Tape() as tape:
        tape.watch([a, b, c])
        y = a * b + c
    assert tape.gradient(y, [a, b, c]) == [2.0, 3.0, 1.0]
    assert tape.gradient(y, a) == 2.0


def test_higher_orders() -> None:
    """Gradients are lazy tensors like others."""
    x = gl.tensor(2.0)
    y = x**5
    orders = [y]
    for _ in range(5):
        (g,) = gl.gradients(orders[-1], [x])
        orders.append(g)
    assert gl.compute(*orders) == (32.0, 80.0, 160.0, 240.0, 240.0, 120.0)
    assert gl.compute(*gl.gradients(orders[1] * x, [x])) == (80.0 + 2 * 160.0,)


def test_intermediate_values() -> None:
    """Gradients with respect to anything that y was computed from."""
    x = gl.tensor(X)
    s = np.sin(x)
    t = s * 2.0
    y = np.sum(t * t) + np.sum(s)
    gt, gs, gx, gy = gl.compute(*gl.gradients(y, [t, s, x, y]))
    np.testing.assert_allclose(gt, 4 * np.sin(X), rtol=1e-15)
    np.testing.assert_allclose(gs, 8 * np.sin(X) + 1, rtol=1e-15)
    np.testing.assert_allclose(gx, (8 * np.sin(X) + 1) * np.cos(X), rtol=1e-15)
    assert gy == 1.0


def test_one_tensor_in_place_of_a_list() -> None:
    """An array tensor is not mistaken for a sequence of its elements."""
    x = gl.tensor(X)
    (g,) = gl.compute(*gl.gradients(np.sum(x**2), x))
    np.testing.assert_array_equal(g, 2 * X)


def test_array_outputs_count_as_their_sum() -> None:
    """As in TensorFlow."""
    x = gl.tensor(X)
    np.testing.assert_array_equal(gl.compute(*gl.gradients(x**2, [x]))[0], 2 * X)


def test_independent_tensors_get_zeros() -> None:
    """Of their own shape and dtype."""
    x, z = gl.tensor(X), gl.tensor(np.ones((2, 2), np.float32))
    (g,) = gl.compute(*gl.gradients(np.sum(x), [z]))
    np.testing.assert_array_equal(g, np.zeros((2, 2), np.float32))
    assert g.dtype == np.float32


# -- placeholders ------------------------------------------------------------------------------


def test_feeding_per_sample() -> None:
    """Gradient descent on a placeholder graph: the line 2x + 1 is found."""
    x, y = gl.tensor(shape=(), name="x"), gl.tensor(shape=(), name="y")
    w, b = gl.tensor(0.0), gl.tensor(0.0)
    cost = (x * w + b - y) ** 2
    gradients = gl.gradients(cost, [w, b])
    values = {w: 0.0, b: 0.0}
    for _ in range(200):
        for sample in (0.0, 0.5, 1.0):
            gw, gb = gl.compute(*gradients, feed={x: sample, y: 2 * sample + 1, **values})
            values = {w: values[w] - 0.2 * gw, b: values[b] - 0.2 * gb}
    np.testing.assert_allclose(list(values.values()), [2.0, 1.0], rtol=1e-6)


def test_feeding_any_tensor() -> None:
    """Inputs and intermediate values can be fed, too; what is above them need not be."""
    p = gl.tensor(shape=(), name="p")
    q = p * 2.0
    y = q + 1.0
    assert gl.compute(y, feed={q: 10.0}) == (11.0,)
    assert gl.compute(y, q, feed={q: 10.0, p: 1.0}) == (11.0, 10.0)
    assert gl.compute(y, feed={p: 3}) == (7.0,)
    x = gl.tensor(X)
    np.testing.assert_array_equal(gl.compute(x * 2.0, feed={x: np.ones(3, int)})[0], [2.0, 2.0, 2.0])
    np.testing.assert_array_equal(gl.compute(x * 2.0)[0], 2 * X)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (np.ones(3), ShapeError, r"(?s)wrong shape.*expected: \(2,\).*got: \(3,\)"),
        (1.0, ShapeError, "wrong shape"),
        (np.ones(2) * 1j, DTypeError, r"(?s)wrong kind.*expected: float32\[2\].*complex128"),
        ("ab", DTypeError, "wrong kind"),
        (None, DTypeError, "wrong kind"),
        ([1.0, 2.0], DTypeError, "wrong kind"),
        (np.array([1, None]), DTypeError, "wrong kind"),
    ],
)
def test_fed_values_must_fit(value: Any, kind: type, words: str) -> None:
    """Shape and kind; the error names the user's line."""
    p = gl.tensor(shape=(2,), dtype=np.float32, name="p")
    with pytest.raises(kind, match=words) as caught:
        gl.compute(p * 2.0, feed={p: value})
    assert __file__ in caught.value.location


def test_fed_values_take_the_placeholders_dtype() -> None:
    """float64 into float32, ints into floats; never floats into ints."""
    p = gl.tensor(shape=(2,), dtype=np.float32)
    (out,) = gl.compute(p * 2.0, feed={p: np.ones(2)})
    assert out.dtype == np.float32
    n = gl.tensor(shape=(), dtype=np.int64)
    assert gl.compute(n * 2, feed={n: 4}) == (8,)
    with pytest.raises(DTypeError, match="wrong kind"):
        gl.compute(n * 2, feed={n: 4.5})


def test_unfed_placeholders_are_named() -> None:
    """Wherever a value is needed."""
    p, q = gl.tensor(shape=(), name="learning rate"), gl.tensor(shape=())
    for use in (lambda: gl.compute(p * 2.0), lambda: float(p), lambda: bool(p > 0), lambda: np.asarray(p + 1.0)):
        with pytest.raises(ConcreteValueError, match="the placeholder 'learning rate' was not fed"):
            use()
    with pytest.raises(ConcreteValueError, match="a placeholder was not fed"):
        gl.compute(q)
    with pytest.raises(ArgumentError, match="only lazy tensors can be fed"):
        gl.compute(p, feed={"p": 1.0})


# -- values and mixing -------------------------------------------------------------------------


def test_lazy_values_can_be_asked_for() -> None:
    """Nothing is being differentiated, so nothing is lost."""
    x, s = gl.tensor(X), gl.tensor(2.0)
    assert float(s * 2) == 4.0
    assert int(s) == 2
    assert bool(s > 1)
    assert (s if s > 3 else -s).item() == -2.0
    assert (x * 2).tolist() == [1.0, -2.5, 4.0]
    np.testing.assert_array_equal(np.asarray(np.sort(x)), np.sort(X))
    assert [1, 2, 3][np.argmax(x)] == 3
    assert f"{s:.1f}" == "2.0"
    assert repr(x) == "Tensor(float64[3], lazy)"


def test_mixing_with_arrays_and_scalars() -> None:
    """Arrays on either side are copied when used; other values pass through compute."""
    x = gl.tensor(X)
    w = np.ones(3)
    y = w * x + x * w + 1 + np.float64(1.0) - 2.0
    w[:] = 100.0
    out = gl.compute(y, 5.0, w)
    np.testing.assert_array_equal(out[0], 2 * X)
    assert out[1] == 5.0
    assert out[2] is w
    assert gl.compute() == ()
    source = X.copy()
    t = gl.tensor(source)
    source[:] = 0.0
    np.testing.assert_array_equal(gl.compute(t)[0], X)


def test_results_alias_nothing() -> None:
    """Not the tensor's own value, nor each other."""
    x = gl.tensor(X)
    a, b, c = gl.compute(x, x, x[:2])
    a[:] = 0.0
    np.testing.assert_array_equal(b, X)
    np.testing.assert_array_equal(c, X[:2])
    np.testing.assert_array_equal(gl.compute(x)[0], X)


def test_copies_are_lazy_tensors() -> None:
    """copy, deepcopy and .copy() can be computed and differentiated."""
    x = gl.tensor(2.0)
    for same in (copy.copy(x), copy.deepcopy(x), x.copy()):
        assert gl.compute(same * 2) == (4.0,)
        same += 1.0
        assert gl.compute(x, same) == (2.0, 3.0)
    y = x.copy()
    y += x * x
    assert gl.compute(*gl.gradients(y, [x])) == (5.0,)


def test_pickling_is_refused() -> None:
    """A lazy tensor belongs to its graph; nothing is said of gradients, for none is lost."""
    with pytest.raises(ArgumentError, match=r"(?s)cannot be pickled.*gl\.compute"):
        pickle.dumps(gl.tensor(X))


def test_item_assignment_rebinds() -> None:
    """x[i] = v on a lazy tensor, as on others."""
    x = gl.tensor(X)
    y = x * 1.0
    y[0] = x[1] * 10.0
    (g,) = gl.compute(*gl.gradients(np.sum(y), [x]))
    np.testing.assert_array_equal(g, [0.0, 11.0, 1.0])


def test_lazy_tensors_inside_transforms() -> None:
    """They are captured like outer tensors, and the result is lazy."""
    w = gl.tensor(3.0)
    g = gl.grad(lambda x: x * x * w)(2.0)
    assert gl.compute(g) == (12.0,)
    assert gl.compute(*gl.gradients(g, [w])) == (4.0,)
    assert gl.compute(gl.jit(lambda x: x * w)(5.0)) == (15.0,)
    assert gl.compute(gl.grad(lambda x: x**3)(w)) == (27.0,)
    np.testing.assert_array_equal(gl.compute(gl.vmap(lambda x: x * w)(X))[0], 3 * X)
    out, tangent = gl.jvp(np.square, (w,), (1.0,))
    assert gl.compute(out, tangent) == (9.0, 6.0)
    assert gl.compute(gl.hessian(lambda v: np.sum(v**3) * w)(np.ones(1))[0, 0]) == (18.0,)


def test_several_outputs() -> None:
    """Ops of several outputs."""
    a = gl.tensor(np.array([[2.0, 1.0], [1.0, 3.0]]))
    sign, logdet = np.linalg.slogdet(a)
    (g,) = gl.compute(*gl.gradients(logdet, [a]))
    np.testing.assert_allclose(g, np.linalg.inv([[2.0, 1.0], [1.0, 3.0]]).T, rtol=1e-13)
    assert gl.compute(sign) == (1.0,)


def test_dtypes() -> None:
    """Numbers become NumPy scalars; dtype= casts."""
    f32 = np.ones(2, np.float32)
    assert gl.compute(gl.tensor(2.0) * f32)[0].dtype == np.float64
    assert gl.compute(gl.tensor(2.0, dtype=np.float32) * f32)[0].dtype == np.float32
    assert gl.compute(gl.tensor(gl.tensor(2.0), dtype=np.float32))[0].dtype == np.float32
    x = gl.tensor(f32)
    assert gl.compute(*gl.gradients(np.sum(x * 2.0), [x]))[0].dtype == np.float32


# -- errors ------------------------------------------------------------------------------------


def test_refused() -> None:
    """Everything that is no lazy tensor, and what cannot be differentiated."""
    x = gl.tensor(X)
    n = gl.tensor(np.arange(3))
    with pytest.raises(ArgumentError, match=r"(?s)must be a lazy tensor.*argument: y"):
        gl.gradients(3.0, [x])
    with pytest.raises(ArgumentError, match=r"(?s)must be a lazy tensor.*xs\[1\].*ndarray"):
        gl.gradients(np.sum(x), [x, X])
    with pytest.raises(DTypeError, match=r"(?s)integers or booleans.*xs\[0\]"):
        gl.gradients(np.sum(x * n), [n])
    with pytest.raises(DTypeError, match=r"(?s)integers or booleans.*argument: y"):
        gl.gradients(np.argmax(x), [x])
    for bad in ("text", None, ["text"], np.array([None]), np.ma.array([1.0])):
        if bad is not None:
            with pytest.raises(ArgumentError, match="cannot take a value of this kind"):
                gl.tensor(bad)
    for bad in (3.0, "text", [X], None):
        with pytest.raises(ArgumentError, match="only lazy tensors can be watched"):
            gl.Tape().watch(bad)
    tape = gl.Tape()
    with pytest.raises(ArgumentError, match=r"(?s)the tensor was not watched.*xs\[0\]"):
        tape.gradient(np.sum(x), [x])


def test_tape_takes_a_feed() -> None:
    """Placeholders under a tape."""
    p = gl.tensor(shape=())
    tape = gl.Tape()
    tape.watch(p)
    assert tape.gradient(p**2, p, feed={p: 5.0}) == 10.0
    tape.watch((p, p * 1.0))


def test_lazy_errors_carry_op_and_line() -> None:
    """Shapes are checked when the graph is built."""
    x = gl.tensor(X)
    with pytest.raises(ShapeError) as caught:
        x + np.ones(4)
    assert caught.value.op == "add"
    assert __file__ in caught.value.location
    with pytest.raises((GradloomError, TypeError)):
        x * "text"
    with pytest.raises(LostGradientError):
        np.zeros(3).__iadd__(x)


def test_tensor_of_a_running_trace_is_refused() -> None:
    """A traced value is not a start of a lazy graph."""
    with pytest.raises(ArgumentError, match="cannot take a value of this kind"):
        gl.grad(lambda x: gl.tensor(x))(1.0)


def test_kernel_errors_name_the_line_of_the_graph() -> None:
    """Not that of compute."""
    a = gl.tensor(np.zeros((2, 2)))
    inverse = np.linalg.inv(a)
    line = inverse._index.source[0].co_firstlineno + 3
    with pytest.raises(np.linalg.LinAlgError) as caught:
        gl.compute(inverse)
    assert f"{__file__}:{line}" in caught.value.__notes__[0]
