"""NumPy's shape functions on tensors: values, gradients, keywords, errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError, AxisError, DTypeError, ShapeError, UnsupportedFunctionError
from gradloom.testing.differences import jacobian

RNG = np.random.default_rng(0)
V = RNG.normal(size=4)
M = RNG.normal(size=(2, 3))
C = RNG.normal(size=(2, 3, 4))


def leaves(out: Any) -> list[Any]:
    return list(out) if isinstance(out, (list, tuple)) else [out]


def total(out: Any) -> Any:
    """Return a scalar in which every element of every output has another weight."""
    parts = [np.sum(np.sin(o) * (np.arange(1.0, o.size + 1).reshape(o.shape) + k)) for k, o in enumerate(leaves(out))]
    return sum(parts[1:], parts[0])


def check(f: Callable[[Any], Any], x: Any) -> None:
    """Values, shapes, dtypes and gradients of ``f`` are NumPy's."""
    expected = leaves(f(x))
    got = leaves(gl.jit(lambda t: tuple(leaves(f(t))))(x))
    assert len(got) == len(expected)
    for out, want in zip(got, expected, strict=True):
        assert np.shape(out) == want.shape
        assert out.dtype == want.dtype
        np.testing.assert_array_equal(out, want)
    if x.dtype.kind == "f":
        gradient = gl.grad(lambda t: total(f(t)))(x)
        np.testing.assert_allclose(gradient, jacobian(lambda t: total(f(t)), (x,), 0), rtol=1e-9, atol=1e-9)


CASES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "reshape": (lambda x: np.reshape(x, (3, -1)), M),
    "reshape int": (lambda x: np.reshape(x, 6), M),
    "reshape F": (lambda x: np.reshape(x, (4, 6), order="F"), C),
    "reshape F with -1": (lambda x: np.reshape(x, (-1, 2), order="F"), C),
    "reshape copy": (lambda x: np.reshape(x, (3, 2), copy=True), M),
    "reshape method": (lambda x: x.reshape(3, -1), M),
    "reshape method F": (lambda x: x.reshape((3, 2), order="F"), M),
    "reshape size 0": (lambda x: np.reshape(x, (0, 5)), np.empty((2, 0))),
    "reshape 0-d": (lambda x: np.reshape(x, ()), V[:1]),
    "resize": (lambda x: np.resize(x, (3, 5)), M),
    "resize to fewer": (lambda x: np.resize(x, 4), M),
    "resize to none": (lambda x: np.resize(x, (2, 0)), M),
    "resize of none": (lambda x: np.resize(x, (2, 3)), M[:0]),
    "ravel": (np.ravel, C),
    "ravel F": (lambda x: np.ravel(x, order="F"), C),
    "ravel 0-d": (np.ravel, np.array(0.5)),
    "ravel size 0": (np.ravel, np.empty((0, 3))),
    "flatten": (lambda x: x.flatten("F"), M),
    "transpose": (np.transpose, C),
    "transpose axes": (lambda x: np.transpose(x, (1, -1, 0)), C),
    "transpose method": (lambda x: x.transpose(2, 0, 1), C),
    "transpose method tuple": (lambda x: x.transpose((2, 0, 1)), C),
    "T": (lambda x: x.T, C),
    "mT": (lambda x: x.mT, C),
    "permute_dims": (lambda x: np.permute_dims(x, (2, 0, 1)), C),
    "matrix_transpose": (np.matrix_transpose, C),
    "swapaxes": (lambda x: np.swapaxes(x, 0, -1), C),
    "swapaxes method": (lambda x: x.swapaxes(0, 1), C),
    "moveaxis": (lambda x: np.moveaxis(x, 0, -1), C),
    "moveaxis several": (lambda x: np.moveaxis(x, (0, 1), (-1, 0)), C),
    "rollaxis": (lambda x: np.rollaxis(x, 2), C),
    "rollaxis start": (lambda x: np.rollaxis(x, 0, 3), C),
    "rollaxis negative": (lambda x: np.rollaxis(x, -1, -2), C),
    "expand_dims": (lambda x: np.expand_dims(x, 1), M),
    "expand_dims several": (lambda x: np.expand_dims(x, (0, -1)), M),
    "squeeze": (lambda x: np.squeeze(x), C[:1, :, :1]),
    "squeeze axis": (lambda x: np.squeeze(x, axis=-1), C[:1, :, :1]),
    "squeeze method": (lambda x: x.squeeze((0, 2)), C[:1, :, :1]),
    "broadcast_to": (lambda x: np.broadcast_to(x, (4, 2, 3)), M),
    "broadcast_to int": (lambda x: np.broadcast_to(x, 3), V[:1]),
    "broadcast_arrays": (lambda x: np.broadcast_arrays(x, M[:, :1], 2.0), M[0]),
    "atleast_1d": (np.atleast_1d, np.array(0.5)),
    "atleast_2d": (np.atleast_2d, V),
    "atleast_3d": (np.atleast_3d, M),
    "atleast_3d vector": (np.atleast_3d, V),
    "atleast several": (lambda x: np.atleast_2d(x, 1.0), V),
    "meshgrid": (lambda x: np.meshgrid(x, x[:2] * 2, x[1:]), V),
    "meshgrid ij": (lambda x: np.meshgrid(x, M[0], indexing="ij"), V),
    "meshgrid sparse": (lambda x: np.meshgrid(x, M[0], sparse=True), V),
    "flip": (np.flip, C),
    "flip axes": (lambda x: np.flip(x, (0, -1)), C),
    "fliplr": (np.fliplr, C),
    "flipud": (np.flipud, C),
    "rot90": (np.rot90, M),
    "rot90 twice": (lambda x: np.rot90(x, 2), M),
    "rot90 thrice": (lambda x: np.rot90(x, 3, axes=(2, 0)), C),
    "rot90 not": (lambda x: np.rot90(x, 4), M),
    "rot90 back": (lambda x: np.rot90(x, -1, (1, 2)), C),
    "concatenate": (lambda x: np.concatenate([x, M[:1], x * 2]), M),
    "concatenate axis": (lambda x: np.concatenate((x, M[:, :1]), axis=-1), M),
    "concatenate None": (lambda x: np.concatenate([x, V], axis=None), M),
    "concatenate tensor": (lambda x: np.concatenate(x), C),
    "concatenate dtype": (lambda x: np.concatenate([x, x], dtype=np.float32), np.arange(4)),
    "concatenate lists": (lambda x: np.concatenate([x, [1, 2]]), V),
    "concat": (lambda x: np.concat([x, x]), V),
    "stack": (lambda x: np.stack([x, M], axis=1), M),
    "stack last": (lambda x: np.stack([x, M], axis=-1), M),
    "stack scalars": (lambda x: np.stack([x[0], 1.5, x[1]]), V),
    "stack tensor": (lambda x: np.stack(x, 1), C),
    "vstack": (lambda x: np.vstack([x, x * 2, M[:1, :1].repeat(4, 1)]), V),
    "hstack": (lambda x: np.hstack([x, 2.0, V]), V),
    "hstack matrices": (lambda x: np.hstack([x, M[:, :1]]), M),
    "dstack": (lambda x: np.dstack([x, M]), M),
    "column_stack": (lambda x: np.column_stack([x, np.stack([x, x], 1)]), V),
    "block": (lambda x: np.block([[x, np.zeros((2, 1))], [np.ones((1, 3)), x[:1, :1]]]), M),
    "block flat": (lambda x: np.block([x, 1.0, V]), V),
    "append": (lambda x: np.append(x, [[1.0, 2.0]]), M),
    "append axis": (lambda x: np.append(x, x[:1], axis=0), M),
    "split": (lambda x: np.split(x, 2, axis=-1), C),
    "split indices": (lambda x: np.split(x, [1, 3]), V),
    "split beyond": (lambda x: np.split(x, [3, 7]), V),
    "array_split": (lambda x: np.array_split(x, 3, axis=2), C),
    "hsplit": (lambda x: np.hsplit(x, 3), M),
    "hsplit vector": (lambda x: np.hsplit(x, [1]), V),
    "vsplit": (lambda x: np.vsplit(x, 2), M),
    "dsplit": (lambda x: np.dsplit(x, 2), C),
    "repeat": (lambda x: np.repeat(x, 2), M),
    "repeat axis": (lambda x: np.repeat(x, 3, axis=0), M),
    "repeat counts": (lambda x: np.repeat(x, [2, 0, 1], axis=1), M),
    "repeat method": (lambda x: x.repeat(2, 1), M),
    "repeat nothing": (lambda x: np.repeat(x, 0, axis=1), M),
    "tile": (lambda x: np.tile(x, 2), M),
    "tile axes": (lambda x: np.tile(x, (2, 1, 3)), M),
    "tile nothing": (lambda x: np.tile(x, (2, 0)), M),
    "roll": (lambda x: np.roll(x, 1), M),
    "roll axis": (lambda x: np.roll(x, -5, axis=1), M),
    "roll axes": (lambda x: np.roll(x, (1, 2), axis=(0, 2)), C),
    "roll one shift": (lambda x: np.roll(x, 1, axis=(1, 2)), C),
    "roll an axis twice": (lambda x: np.roll(x, (1, 1), axis=(2, 2)), C),
    "roll size 0": (lambda x: np.roll(x, 1, axis=0), np.empty((0, 3))),
    "pad": (lambda x: np.pad(x, 1), M),
    "pad widths": (lambda x: np.pad(x, ((1, 0), (2, 3)), constant_values=1.5), M),
    "pad values": (lambda x: np.pad(x, 1, constant_values=((1.0, 2.0), (3.0, 4.0))), M),
    "pad tensor value": (lambda x: np.pad(x, (1, 2), constant_values=x[0, 1] if x.ndim else 0), M),
    "pad edge": (lambda x: np.pad(x, ((2, 1), (0, 3)), mode="edge"), M),
    "pad reflect": (lambda x: np.pad(x, ((1, 3), (5, 0)), mode="reflect"), M),
    "pad symmetric": (lambda x: np.pad(x, (3, 4), mode="symmetric"), V),
    "pad wrap": (lambda x: np.pad(x, ((3, 1), (1, 7)), mode="wrap"), M),
    "pad nothing": (lambda x: np.pad(x, 0), M),
    "pad integers": (lambda x: np.pad(x, 1, constant_values=7), np.arange(4)),
    "delete": (lambda x: np.delete(x, 1, axis=1), M),
    "delete several": (lambda x: np.delete(x, [0, -1]), M),
    "delete slice": (lambda x: np.delete(x, slice(0, 3, 2), axis=-1), C),
    "insert": (lambda x: np.insert(x, 1, x[0]), V),
    "insert axis": (lambda x: np.insert(x, 1, x[:, 0] * 2, axis=1), M),
    "insert several": (lambda x: np.insert(x, [0, 3, 3], [7.0, 8.0, 9.0]), V),
    "insert rows": (lambda x: np.insert(x, [1], [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], axis=0), M),
    "insert number": (lambda x: np.insert(x, (0, 2), 5.0, axis=1), M),
    "diag": (np.diag, V),
    "diag k": (lambda x: np.diag(x, -2), V),
    "diag of matrix": (lambda x: np.diag(x, 1), M),
    "diagonal": (np.diagonal, C),
    "diagonal axes": (lambda x: np.diagonal(x, offset=-1, axis1=2, axis2=0), C),
    "diagonal beyond": (lambda x: np.diagonal(x, offset=5), M),
    "diagonal method": (lambda x: x.diagonal(1), M),
    "diagflat": (lambda x: np.diagflat(x, 1), M),
    "tril": (np.tril, C),
    "tril k": (lambda x: np.tril(x, 1), M),
    "triu": (np.triu, M),
    "triu k": (lambda x: np.triu(x, -1), C),
    "triu vector": (np.triu, V),
    "trace": (np.trace, C),
    "trace axes": (lambda x: np.trace(x, offset=1, axis1=2, axis2=1), C),
    "trace method": (lambda x: x.trace(), M),
    "vander": (lambda x: np.vander(x), V),
    "vander increasing": (lambda x: np.vander(x, 3, increasing=True), V),
}
if hasattr(np, "unstack"):
    CASES["unstack"] = (lambda x: np.unstack(x, axis=1), C)


@pytest.mark.parametrize("name", CASES)
def test_like_numpy(name: str) -> None:
    check(*CASES[name])


@pytest.mark.parametrize("x", [np.arange(6).reshape(2, 3), M > 0, M.astype(np.float32), M + 1j * M], ids=str)
@pytest.mark.parametrize(
    "f",
    [
        np.transpose, np.flip, np.ravel, np.triu, np.rot90, np.diag,
        lambda x: np.concatenate([x, x]),
        lambda x: np.stack([x, x]),
        lambda x: np.pad(x, 1),
        lambda x: np.pad(x, 1, mode="wrap"),
        lambda x: np.tile(x, 2),
        lambda x: np.repeat(x, 2, 1),
        lambda x: np.roll(x, 1),
        lambda x: np.diagflat(x),
    ],
)  # fmt: skip
def test_dtypes(f: Callable[[Any], Any], x: Any) -> None:
    expected = f(x)
    got = gl.jit(f)(x)
    assert got.dtype == expected.dtype
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("dtypes", [("f4", "f8"), ("i4", "f4"), ("f4", "c8"), ("?", "i2"), ("i8", "f4")])
@pytest.mark.parametrize("join", [np.concatenate, np.stack, np.hstack])
def test_common_dtype(join: Any, dtypes: tuple[str, str]) -> None:
    arrays = [np.ones(3, d) for d in dtypes]
    got = gl.jit(lambda *a: join(a))(*arrays)
    assert got.dtype == join(arrays).dtype


def test_gradient_of_a_cast_join_keeps_its_dtype() -> None:
    x = np.ones(3, np.float32)
    gradient = gl.grad(lambda t: np.sum(np.concatenate([t, V]) ** 2))(x)
    assert gradient.dtype == np.float32
    np.testing.assert_array_equal(gradient, 2 * x)


def test_casting() -> None:
    x = np.array([1.5, 2.5])
    with pytest.raises(DTypeError, match=r"numpy.concatenate: cannot cast under the rule 'same_kind'"):
        gl.jit(lambda t: np.concatenate([t, t], dtype=int))(x)
    got = gl.jit(lambda t: np.concatenate([t, t], dtype=int, casting="unsafe"))(x)
    np.testing.assert_array_equal(got, [1, 2, 1, 2])
    with pytest.raises(DTypeError, match="casting"):
        gl.jit(lambda t: np.stack([t, np.ones(2, int)], casting="no"))(x)


def test_many_scalars_stack_in_linear_time() -> None:
    n = 2000
    x = np.linspace(0.0, 1.0, n)
    gradient = gl.grad(lambda t: np.sum(np.stack([t[i] ** 2 for i in range(n)])))(x)
    np.testing.assert_allclose(gradient, 2 * x)


# -- errors --------------------------------------------------------------------------------


ERRORS: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    "reshape": (lambda x: np.reshape(x, (4, 2)), ShapeError, r"numpy.reshape: cannot reshape\n.*shape\n.*6 elements"),
    "reshape two unknown": (lambda x: np.reshape(x, (-1, -1)), ShapeError, "at most one length -1"),
    "reshape indivisible": (lambda x: x.reshape(4, -1), ShapeError, "cannot reshape"),
    "reshape order": (lambda x: np.reshape(x, 6, order="A"), UnsupportedFunctionError, "argument: order"),
    "ravel order": (lambda x: np.ravel(x, order="K"), UnsupportedFunctionError, "argument: order"),
    "transpose": (lambda x: np.transpose(x, (0, 2)), AxisError, "numpy.transpose: axis out of range\n  argument: axes"),
    "transpose twice": (lambda x: np.transpose(x, (0, 0)), AxisError, "given twice"),
    "transpose few": (lambda x: np.transpose(x, (0,)), AxisError, "expected: all 2 axes"),
    "swapaxes": (lambda x: np.swapaxes(x, 0, 2), AxisError, "axis2\n  expected: an axis of a 2-d array, -2 to 1"),
    "moveaxis": (lambda x: np.moveaxis(x, (0, 1), 0), AxisError, "as many axes"),
    "expand_dims": (lambda x: np.expand_dims(x, 3), AxisError, "numpy.expand_dims"),
    "squeeze": (lambda x: np.squeeze(x, 0), ShapeError, "axis 0 of length 2"),
    "axis kind": (lambda x: np.flip(x, 0.5), ArgumentError, "an axis must be an integer"),
    "broadcast_to": (lambda x: np.broadcast_to(x, (3, 2)), ShapeError, r"a shape that \(2, 3\) broadcasts to"),
    "broadcast_arrays": (lambda x: np.broadcast_arrays(x, V), ShapeError, r"\(2, 3\) and \(4,\)"),
    "concatenate": (lambda x: np.concatenate([x, C]), ShapeError, "argument: array 1"),
    "concatenate axis": (lambda x: np.concatenate([x, x], 2), AxisError, "numpy.concatenate: axis out of range"),
    "concatenate 0-d": (lambda x: np.concatenate([x[0, 0], x[0, 1]]), ShapeError, "remedy: use np.stack"),
    "concatenate out": (lambda x: np.concatenate([x, x], out=np.empty((4, 3))), TypeError, "argument: out"),
    "stack": (lambda x: np.stack([x, x[0]]), ShapeError, r"expected: \(2, 3\)\n  got: \(3,\)"),
    "split": (lambda x: np.split(x, 2, 1), ShapeError, "a divisor of 3"),
    "vsplit": (lambda x: np.vsplit(x[0], 1), ShapeError, "too few axes"),
    "pad mode": (lambda x: np.pad(x, 1, mode="linear_ramp"), UnsupportedFunctionError, "got: 'linear_ramp'"),
    "pad odd": (lambda x: np.pad(x, 1, "reflect", reflect_type="odd"), UnsupportedFunctionError, "reflect_type"),
    "pad width": (lambda x: np.pad(x, -1), ShapeError, "widths of 0 or more"),
    "pad widths": (lambda x: np.pad(x, ((1, 1),) * 3), ShapeError, "for 2 axes"),
    "pad float": (lambda x: np.pad(x, 1.5), ArgumentError, "integral"),
    "pad unknown": (lambda x: np.pad(x, 1, mode="edge", constant_values=1), UnsupportedFunctionError, "constant_"),
    "resize": (lambda x: np.resize(x, (-1, 4)), ShapeError, "np.reshape"),
    "trim_zeros": (lambda x: np.trim_zeros(x[0]), UnsupportedFunctionError, "slice with known bounds"),
    "diag": (lambda x: np.diag(x[None]), ShapeError, "a vector or a matrix"),
    "diagonal": (lambda x: np.diagonal(x, axis1=0, axis2=0), AxisError, "must differ"),
    "trace out": (lambda x: np.trace(x, out=np.empty(())), TypeError, "argument: out"),
    "repeat": (lambda x: np.repeat(x, -1), ShapeError, "negative"),
    "block": (lambda x: np.block([[x], x]), ShapeError, "nested equally deep"),
    "fliplr": (lambda x: np.fliplr(x[0]), ShapeError, "2 or more axes"),
    "matrix_transpose": (lambda x: np.matrix_transpose(x[0]), ShapeError, "2 or more axes"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name: str) -> None:
    f, kind, text = ERRORS[name]
    with pytest.raises(kind, match=text) as caught:
        gl.grad(lambda t: total(f(t)))(M)
    assert f"{__file__}:" in str(caught.value)


def test_an_axis_error_is_what_numpy_raises() -> None:
    with pytest.raises(IndexError):
        gl.grad(lambda t: np.sum(np.flip(t, 3)))(M)
    with pytest.raises(ValueError, match="axis out of range"):
        gl.grad(lambda t: np.sum(np.flip(t, 3)))(M)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64", "complex64", "bool"])
def test_powers_in_vander_do_not_wrap_around(dtype: str) -> None:
    """They are computed in the dtype that joins the vector's and that of integers, as in NumPy."""
    x = np.array([20, 3, 1]).astype(dtype)
    np.testing.assert_array_equal(gl.jit(np.vander)(x), np.vander(x), strict=True)
