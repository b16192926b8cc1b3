"""Every error class: raised somewhere, with its fields, the user's line, and picklable."""

from __future__ import annotations

import inspect
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.special

import gradloom as gl
from gradloom import dispatch, errors
from gradloom.errors import ArgumentError, GradloomError
from gradloom.executor import SerialExecutor, executors
from gradloom.op import Op, define, get_op, unregister
from gradloom.simplify.builder import Rule, rebuild, rule_table
from gradloom.simplify.check import CheckingBuilder

X = np.array([0.5, -1.25, 2.0])


def leak() -> Any:
    """Return a tensor whose trace has ended."""
    leaked: list[Any] = []
    gl.grad(lambda x: leaked.append(x) or x * 1.0)(1.0)
    return leaked[0]


def in_place_on_a_view(x: Any) -> Any:
    """Change an array that a view shares."""
    y = x * 1.0
    view = y[:2]
    y[0] = 5.0
    return np.sum(y) + np.sum(view)


def without_rule() -> None:
    """Differentiate an op that has no derivative rule."""
    op = define("test_without_rule", spec=lambda x: x)
    try:
        gl.grad(lambda x: op(x))(1.0)
    finally:
        unregister("test_without_rule")


def without_kernel() -> None:
    """Run an op that has no kernel."""
    op = define("test_without_kernel", spec=lambda x: x)
    try:
        gl.jit(lambda x: op(x))(1.0)
    finally:
        unregister("test_without_kernel")


def broken_rewrite() -> None:
    """Check a rule of `simplify` that is wrong."""

    def sum_to_first(g: Any, op: Any, args: Any, attrs: Any, spec: Any, k: int) -> Any:
        return args[0]

    rebuild(gl.make_graph(lambda x: x + np.sin(x))(X), CheckingBuilder(rule_table([Rule(sum_to_first, "add")])))


def on_missing_device(x: Any) -> Any:
    with gl.device("numpy:1"):
        return np.sin(x)


def progress_without_rich() -> None:
    """Ask for bars where the package that draws them is missing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradloom.context.installed", lambda name: False)
        with gl.progress():
            pass


#: What raises each class, and which of its fields are filled.
RAISED: dict[str, tuple[Callable[[], Any], tuple[str, ...]]] = {
    "ShapeError": (lambda: gl.grad(lambda x: np.sum(x + np.ones(4)))(X), ("op", "location")),
    "DTypeError": (lambda: gl.grad(lambda x: x)(3), ("op", "argument", "expected", "got", "remedy", "location")),
    "AxisError": (lambda: gl.grad(lambda x: np.sum(np.sum(x, axis=3)))(X), ("op", "location")),
    "IndexRangeError": (lambda: gl.grad(lambda x: x[7])(X), ("location",)),
    "ArgumentError": (lambda: gl.grad(lambda x: x, argnums=3)(X), ("op", "argument", "expected", "got", "location")),
    "OutputError": (lambda: gl.grad(lambda x: x)(X), ("op", "argument", "expected", "got", "remedy", "location")),
    "UnsupportedFunctionError": (lambda: gl.grad(lambda x: np.savetxt("x", x))(X), ("op", "remedy", "location")),
    "MissingAttributeError": (lambda: gl.grad(lambda x: x.tobytes())(X), ("op", "expected", "remedy", "location")),
    "MissingRuleError": (without_rule, ("op", "argument", "expected", "remedy", "location")),
    "MissingKernelError": (without_kernel, ("op", "remedy", "location")),
    "ConcreteValueError": (lambda: gl.jit(lambda x: x if x > 0 else -x)(1.0), ("remedy", "location")),
    "LostGradientError": (lambda: gl.grad(lambda x: float(x))(1.0), ("expected", "remedy", "location")),
    "TraceEndedError": (lambda: leak() + 1.0, ("expected", "remedy", "location")),
    "AliasError": (lambda: gl.grad(in_place_on_a_view)(X), ("remedy", "location")),
    "BackendError": (lambda: gl.jit(np.sin, backend="nope"), ("expected", "got", "remedy", "location")),
    "DeviceError": (lambda: gl.grad(on_missing_device)(1.0), ("op", "expected", "got", "remedy", "location")),
    "MissingPackageError": (progress_without_rich, ("op", "argument", "expected", "got", "remedy", "location")),
    "RewriteError": (broken_rewrite, ("op", "expected", "got", "remedy", "location")),
    "SchedulerError": (
        executors.get("serial").start,
        ("op", "argument", "expected", "got", "location"),
    ),
    "PluginError": (lambda: executors.add("serial", SerialExecutor, "the test"), ("location",)),
}
CLASSES = [name for name, kind in vars(errors).items() if inspect.isclass(kind) and issubclass(kind, GradloomError)]


#: All but the class that nothing raises.
LOCATED = [name for name in CLASSES if name in RAISED]


def raised(name: str) -> GradloomError:
    """Return the error that the example of a class raises."""
    with pytest.raises(getattr(errors, name)) as caught:
        RAISED[name][0]()
    return caught.value


def test_every_class_has_an_example() -> None:
    """The table above is complete."""
    assert set(CLASSES) - {"GradloomError"} == set(RAISED)


@pytest.mark.parametrize("name", LOCATED)
def test_fields(name: str) -> None:
    """The class itself is raised, with the fields a caller can act on, and they stand in the text."""
    error = raised(name)
    assert type(error) is getattr(errors, name)
    text = str(error)
    for field in RAISED[name][1]:
        value = getattr(error, field)
        assert value is not None, field
        assert str(value) in text
    assert error.location.startswith(__file__)
    assert text.endswith(f"  at {error.location}")


@pytest.mark.parametrize("name", LOCATED)
def test_pickle(name: str) -> None:
    """An error comes back from another process as it was."""
    error = raised(name)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.location == error.location
    for field in ("op", "argument", "remedy"):
        assert getattr(again, field) == getattr(error, field)


@pytest.mark.parametrize("name", CLASSES)
def test_builtin_base_classes(name: str) -> None:
    """Code that catches the builtin class catches ours."""
    kind = getattr(errors, name)
    if kind is not GradloomError:
        assert len(kind.__mro__) > len(GradloomError.__mro__)
        assert any(base.__module__ == "builtins" and base not in GradloomError.__mro__ for base in kind.__mro__)
    assert kind.__doc__


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "GradloomError"])
def test_every_class_is_raised_somewhere(name: str) -> None:
    """No dead classes: each is made somewhere in the package."""
    package = Path(errors.__file__).parent
    pattern = re.compile(rf"(?<!class )\b{name}\(")
    assert any(pattern.search(path.read_text()) for path in package.rglob("*.py"))


@pytest.mark.parametrize("array", [np.ma.masked_array(X), np.rec.array(X)], ids=["masked", "record"])
@pytest.mark.parametrize("transform", [gl.grad, gl.jit, gl.vmap])
def test_arrays_of_other_kinds_are_to_be_made_plain(transform: Any, array: Any) -> None:
    """Masked arrays, say, have rules of their own, which tensors do not follow."""
    with pytest.raises(ArgumentError) as caught:
        transform(np.sum)(array)
    assert "np.asarray(x)" in str(caught.value.remedy)


def test_kernel_failures_keep_their_type_and_gain_a_note() -> None:
    """What a kernel raises comes through, with op and line added."""
    singular = np.zeros((2, 2))
    with pytest.raises(np.linalg.LinAlgError) as caught:
        gl.grad(lambda x: np.sum(np.linalg.inv(singular * x)))(1.0)
    (note,) = caught.value.__notes__
    assert "op 'inv'" in note
    assert f"{__file__}:" in note
    fast = gl.jit(lambda x: np.linalg.inv(x))
    fast(np.eye(2))
    fast(np.eye(2))
    with pytest.raises(np.linalg.LinAlgError) as caught:
        fast(singular)
    assert "op 'inv'" in caught.value.__notes__[0]


# -- locations ---------------------------------------------------------------------------------


def line() -> int:
    """Return the caller's line."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def helper(x: Any) -> Any:
    """Fail in a function of the user's."""
    return x @ np.ones((5, 5))


HELPER_LINE = helper.__code__.co_firstlineno + 2


@pytest.mark.parametrize("transform", [gl.grad, gl.jit, gl.jacobian, gl.vmap, lambda f: gl.grad(gl.grad(f))])
def test_location_in_a_function_called_from_a_lambda(transform: Any) -> None:
    """The innermost line of the user's counts, not the outermost."""
    x = np.ones((2, 3)) if transform is gl.vmap else X
    with pytest.raises(GradloomError) as caught:
        transform(lambda x: np.sum(helper(x * 2.0)))(x)
    assert caught.value.location == f"{__file__}:{HELPER_LINE}"


def test_location_in_lambdas_and_comprehensions() -> None:
    """One-liners and loops in all forms."""
    here = line() + 1
    bad = lambda x: np.reshape(x, (2, 2))  # noqa: E731
    for f in (
        bad,
        lambda x: [bad(v) for v in [x, x]],
        lambda x: sum(bad(v) for v in [x]),
        lambda x: list(map(bad, [x])),
        lambda x: {k: bad(x) for k in "ab"},
    ):
        with pytest.raises(errors.ShapeError) as caught:
            gl.grad(f)(X)
        assert caught.value.location == f"{__file__}:{here}"


def test_location_through_numpy_functions_and_methods() -> None:
    """NumPy's own frames and gradloom's functions are passed over."""
    for f in (
        lambda x: np.stack([x, x[:2]]),
        lambda x: np.linalg.norm(x, axis=4),
        lambda x: x.sum(axis=4),
        lambda x: np.add.reduce(x, axis=4),
        lambda x: x.reshape(2, 2),
        lambda x: np.concatenate([x, np.ones((2, 2))]),
        lambda x: np.matmul(np.ones((4, 4)), x),
        lambda x: np.ones((4, 4)) @ x,
        lambda x: x + np.ones(4),
        lambda x: np.ones(4) * x,
        lambda x: np.mean(x, axis=2),
        lambda x: np.einsum("ij->i", x),
    ):
        with pytest.raises(GradloomError) as caught:
            gl.grad(f)(X)
        assert caught.value.location == f"{__file__}:{f.__code__.co_firstlineno}"
        assert caught.value.op


def test_location_through_scipy() -> None:
    """SciPy's own frames are passed over: the line is the one that called SciPy."""
    with pytest.raises(errors.LostGradientError) as caught:
        gl.grad(lambda x: scipy.special.logsumexp(x))(X)
    assert caught.value.location == f"{__file__}:{sys._getframe().f_lineno - 1}"


def test_a_needed_value_is_named_through_nested_transforms() -> None:
    """The action that needs a value is told also where an outer transform has none."""
    for transform in (gl.jit, gl.vmap):
        with pytest.raises(errors.ConcreteValueError, match=r"^bool\(\) needs a value"):
            transform(gl.grad(lambda x: np.sum(x) if np.all(x > 0) else 0.0))(np.ones((2, 2)))


@pytest.mark.parametrize(
    ("f", "op", "remedy"),
    [
        (lambda x: np.full(2, x[0])[0], "numpy.full", "like=x"),
        (lambda x: np.sum([x[0], x[1]]), "numpy.sum", "np.stack"),
        (lambda x: np.polynomial.chebyshev.chebval(0.5, x), "numpy.polynomial.chebyshev.chebval", "gl.custom_gradient"),
        (lambda x: np.vectorize(np.sin)(x)[0], "numpy.vectorize.__call__", "gl.vmap"),
        (lambda x: float(x[0]), None, "np.zeros(n, like=x)"),
    ],
)
def test_function_that_converts_a_tensor_is_named(f: Any, op: Any, remedy: str) -> None:
    with pytest.raises(errors.LostGradientError) as caught:
        gl.grad(f)(X)
    assert caught.value.op == op
    assert remedy in str(caught.value.remedy)
    assert str(caught.value.location).startswith(__file__)


@pytest.mark.parametrize("f", [lambda x: np.array([x[0], 1.0]), lambda x: np.zeros(2).__setitem__(0, x), float])
def test_conversion_without_a_value_names_what_to_write(f: Any) -> None:
    with pytest.raises(errors.ConcreteValueError, match=r"np\.zeros\(n, like=x\)"):
        gl.jit(f)(X if f is not float else 1.0)


def test_arguments_have_their_callers_names() -> None:
    for call, argument in (
        (lambda: gl.jit(lambda x, mode: x)(1.0, "fast"), "argument 1"),
        (lambda: gl.jit(lambda x, mode: x)(1.0, mode=["fast"]), "argument 'mode'[0]"),
        (lambda: gl.jit(gl.make_graph(np.sin)(1.0))("text"), "argument 0"),
        (lambda: gl.check_grads(np.sin, X), "args"),
    ):
        with pytest.raises(errors.ArgumentError) as caught:
            call()
        assert caught.value.argument == argument
        assert caught.value.remedy


def test_unsupported_function_is_named_once() -> None:
    """The name of the function stands in front, and what it lacks behind."""
    with pytest.raises(errors.UnsupportedFunctionError) as caught:
        gl.grad(lambda x: np.packbits(x > 0))(X)
    assert str(caught.value).startswith("numpy.packbits: this function has no traced counterpart\n")


def test_location_of_a_gradient_rule_is_the_line_differentiated() -> None:
    """A missing rule points to where the op was used."""

    def spec(x: Any) -> Any:
        return x

    op = define("test_no_rule_location", spec=spec)
    try:

        def f(x: Any) -> Any:
            y = op(x)
            return y * 2.0

        with pytest.raises(errors.MissingRuleError) as caught:
            gl.grad(f)(1.0)
        assert caught.value.location == f"{__file__}:{f.__code__.co_firstlineno + 1}"
        assert caught.value.op == "test_no_rule_location"
        assert spec.__module__ in caught.value.remedy
    finally:
        unregister("test_no_rule_location")


def test_shape_mismatch_tells_both_shapes() -> None:
    """The whole text of a common error."""
    with pytest.raises(errors.ShapeError) as caught:
        gl.grad(lambda x: np.sum(x * np.ones(4)))(X)
    text = str(caught.value)
    assert text.startswith("multiply: ")
    assert "(3,)" in text
    assert "(4,)" in text


def test_registry_of_ops_refuses_silent_replacement() -> None:
    """A taken name names its owner."""
    sin = get_op("sin")
    with pytest.raises(errors.ArgumentError, match="an op named 'sin' is registered already"):
        define("sin", spec=lambda x: x)
    assert get_op("sin") is sin
    with pytest.raises(errors.MissingRuleError, match="no op named 'nope' is registered"):
        get_op("nope")
    assert isinstance(sin, Op)


def test_message_without_fields_is_one_line() -> None:
    """Fields that are not given leave no empty lines."""
    assert str(GradloomError("plain", location="f.py:1")) == "plain\n  at f.py:1"
    error = GradloomError("m", op="o", argument="a", expected=1, got=0, remedy="r", location="f.py:1")
    assert str(error).splitlines() == [
        "o: m",
        "  argument: a",
        "  expected: 1",
        "  got: 0",
        "  remedy: r",
        "  at f.py:1",
    ]


# -- registration of counterparts ------------------------------------------------------------


def test_a_second_counterpart_is_refused() -> None:
    def second(*args: object) -> None: ...

    op = get_op("sin")
    for register, name in [
        (lambda: dispatch.implements(np.sum)(second), "numpy.sum"),
        (lambda: dispatch.implements(np.power)(second), "numpy.power"),
        (lambda: dispatch.implements_ufunc(op, np.cos), "numpy.cos"),
        (lambda: dispatch.implements_ufunc(op, special="erf"), "scipy.special.erf"),
        (lambda: dispatch.implements_creation(np.zeros)(second), "numpy.zeros"),
        (lambda: dispatch.implements_method("at", np.add)(second), "numpy.add.at"),
    ]:
        with pytest.raises(ArgumentError, match=f"{name} has a traced counterpart already") as caught:
            register()
        assert caught.value.argument == name
        assert "beside that of gradloom." in caught.value.got
        assert caught.value.expected
        assert caught.value.remedy
    np.testing.assert_array_equal(gl.grad(np.cos)(0.0), 0.0)


@pytest.mark.parametrize("table", [dispatch.METHODS, dispatch.PROPERTIES, dispatch.UFUNCS])
def test_tables_of_counterparts_are_read_only(table: Any) -> None:
    with pytest.raises(TypeError, match="does not support item assignment"):
        table[next(iter(table))] = None


@pytest.mark.parametrize(
    "call",
    [
        lambda: gl.grad(3.0),
        lambda: gl.grad(np.sin, 2)(1.0),
        lambda: gl.grad(np.multiply, (0, 0))(1.0, 2.0),
        lambda: gl.grad(lambda x: x, has_aux=True)(1.0),
        lambda: gl.grad(lambda x: None)(1.0),
        lambda: gl.grad(lambda x: x + 1j)(1.0),
        lambda: gl.vjp(lambda x: None, 1.0),
        lambda: gl.vjp(lambda x: "text", 1.0),
        lambda: gl.elementwise_grad(lambda x: (x, x))(1.0),
    ],
)
def test_errors_of_gradient_functions_carry_every_field(call: Any) -> None:
    with pytest.raises(GradloomError) as caught:
        call()
    for field in ("op", "argument", "expected", "got", "remedy"):
        assert getattr(caught.value, field), field


# -- functions of one structure, written on other lines, share what was made of the first -----------------


def pinned(x: Any, place: str) -> Any:
    with gl.device(place):
        return np.sin(x) * 2.0


def pinned_elsewhere(x: Any, place: str) -> Any:
    with gl.device(place):
        z = np.sin(x)
        return z * 2.0


def inverted(x: Any) -> Any:
    y = np.exp(x) * 0.0
    return np.sum(np.linalg.inv(y))


def inverted_elsewhere(x: Any) -> Any:
    y = np.exp(x)
    y *= 0.0
    y = np.linalg.inv(y)
    return np.sum(y)


@pytest.mark.parametrize("scheduler", ["serial", "threads"])
@pytest.mark.parametrize("place", ["numpy:1", "GPU"])
def test_what_cannot_be_planned_names_the_line_of_this_call(place: str, scheduler: str) -> None:
    for f in (pinned, pinned_elsewhere, pinned):
        with pytest.raises(errors.DeviceError) as caught, gl.scheduler(scheduler):
            gl.grad(f)(1.0, place)
        assert caught.value.location == f"{__file__}:{f.__code__.co_firstlineno + 2}"


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("scheduler", ["serial", "threads"])
def test_kernel_failures_name_the_line_of_this_call(compiled: bool, scheduler: str, monkeypatch: Any) -> None:
    if compiled:
        monkeypatch.setattr("gradloom.program.COMPILE_ELEMENTS", 0)
    x = np.ones((4, 4) if compiled else (3, 3))
    for f, line in [(inverted, 2), (inverted_elsewhere, 3), (inverted, 2), (inverted_elsewhere, 3)]:
        with pytest.raises(np.linalg.LinAlgError) as caught, gl.scheduler(scheduler):
            gl.grad(f)(x)
        (note,) = caught.value.__notes__
        assert note.endswith(f"op 'inv' recorded at {__file__}:{f.__code__.co_firstlineno + line}")


@pytest.mark.parametrize(
    ("wrong", "words", "mended"),
    [
        (lambda x: np.sum(x, axis=2), "x[..., None]", lambda x: np.sum(x[..., None], axis=2)),
        (lambda x: np.reshape(x, (4, 2)), "-1", lambda x: np.reshape(x, (-1, 2))),
        (lambda x: np.squeeze(x, 0), "np.take(x, 0, axis)", lambda x: np.take(x, 0, 0)),
        (lambda x: np.transpose(x, (1,)), "np.swapaxes", lambda x: np.swapaxes(x, 0, 1)),
        (lambda x: np.stack([x, x[0]]), "np.broadcast_arrays", lambda x: np.stack(np.broadcast_arrays(x, x[0]))),
        (lambda x: np.split(x, 2, axis=1), "np.array_split", lambda x: np.array_split(x, 2, axis=1)[0]),
        (lambda x: np.take(x, [0.0, 1.0]), "i.astype(int)", lambda x: np.take(x, np.array([0.0, 1.0]).astype(int))),
        (lambda x: np.sum(x, where=np.array([1, 0, 1])), "w != 0", lambda x: np.sum(x, where=np.array([1, 0, 1]) != 0)),
        (
            lambda x: np.sum(x, where=np.ones(2, bool)),
            "w[:, None]",
            lambda x: np.sum(x, where=np.ones(2, bool)[:, None]),
        ),
        (lambda x: np.tensordot(x, x, 1), "axes=([1], [0])", lambda x: np.tensordot(x, x.T, axes=([1], [0]))),
        (lambda x: np.quantile(x + 1j, 0.5), "np.abs(x)", lambda x: np.quantile(np.abs(x + 1j), 0.5)),
        (
            lambda x: gl.vmap(np.add)(x, np.ones(3)),
            "None in in_axes",
            lambda x: gl.vmap(np.add, in_axes=(0, None))(x, np.ones(3)),
        ),
        (
            lambda x: gl.vjp(lambda v: v.T, x)[1](x),
            "reshape",
            lambda x: gl.vjp(lambda v: v.T, x)[1](np.reshape(x, (3, 2)))[0],
        ),
    ],
)
def test_what_a_remedy_says_works(wrong: Any, words: str, mended: Any) -> None:
    """A remedy names what to write, and what it names is no error."""
    x = np.arange(6.0).reshape(2, 3)
    with pytest.raises(GradloomError) as caught:
        gl.jit(wrong)(x)
    assert words in str(caught.value.remedy)
    np.testing.assert_allclose(gl.jit(mended)(x), mended(x))
