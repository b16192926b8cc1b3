"""Dispatch: which traced function serves each NumPy function, ufunc and array method."""

from __future__ import annotations

import operator
import sys
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NoReturn

import numpy as np

from gradloom.errors import (
    ArgumentError,
    DTypeError,
    LostGradientError,
    MissingAttributeError,
    UnsupportedFunctionError,
)
from gradloom.op import Op
from gradloom.spec import Spec
from gradloom.trace import innermost

Function = Callable[..., Any]

_FUNCTIONS: dict[Any, Function] = {}
_CREATIONS: dict[Any, Function] = {}
_UFUNCS: dict[np.ufunc, Function] = {}
#: The op or traced counterpart of each ufunc, read-only; `implements` and `implements_ufunc` add to it.
UFUNCS: Mapping[np.ufunc, Function] = MappingProxyType(_UFUNCS)
_UFUNC_METHODS: dict[tuple[np.ufunc, str], Function] = {}
_SPECIAL: dict[str, Op] = {}
_ATTRIBUTES: dict[str, tuple[Function, Function]] = {}
_REDUCTIONS: dict[np.ufunc, Function] = {np.add: np.sum, np.multiply: np.prod, np.maximum: np.max, np.minimum: np.min}
_REDUCTIONS |= {np.logical_or: np.any, np.logical_and: np.all, np.fmax: np.nanmax, np.fmin: np.nanmin}
_ACCUMULATIONS: dict[np.ufunc, Function] = {np.add: np.cumsum, np.multiply: np.cumprod}

_SAME_NAMES = (
    "all any argmax argmin argpartition argsort astype choose clip cumprod cumsum diagonal dot "
    "max mean min nonzero prod ptp ravel repeat round searchsorted squeeze std sum swapaxes take trace var"
).split()
#: Array properties that are a NumPy function of the array.
PROPERTIES: Mapping[str, Function] = MappingProxyType({"T": np.transpose, "mT": np.matrix_transpose})


def _add(table: dict[Any, Any], key: Any, value: Any, name: str, by: str) -> None:
    """Add to a table; what is there already stays, and a second one raises."""
    taken = table.setdefault(key, value)
    if taken is not value:
        raise ArgumentError(
            f"{name} has a traced counterpart already",
            op=by,
            argument=name,
            expected="a function that has none yet",
            got=f"a second one by {_owner(value)}, beside that of {_owner(taken)}",
            remedy="change the counterpart that is there",
        )


def _owner(value: Any) -> str:
    return str(value.spec.__module__ if isinstance(value, Op) else value.__module__)


def implements(*functions: Any) -> Callable[[Function], Function]:
    """Register the traced counterpart of NumPy functions, ufuncs or operators.

    The counterpart has the same signature; what it cannot honour it refuses with `refuse`.
    """

    def register(implementation: Function) -> Function:
        for function in dict.fromkeys(functions):  # NumPy's aliases are one object
            table: dict[Any, Function] = _UFUNCS if isinstance(function, np.ufunc) else _FUNCTIONS
            _add(table, function, implementation, name_of(function), "implements")
        return implementation

    return register


def implements_creation(*functions: Any) -> Callable[[Function], Function]:
    """Register what creates a tensor for ``function(..., like=tensor)``, which it takes first."""

    def register(implementation: Function) -> Function:
        for function in dict.fromkeys(functions):
            _add(_CREATIONS, function, implementation, name_of(function), "implements_creation")
        return implementation

    return register


def implements_method(method: str, *ufuncs: np.ufunc) -> Callable[[Function], Function]:
    """Register the traced counterpart of ``ufunc.method(array, ...)``.

    That of ``at`` returns the array that the change makes of one.
    """

    def register(implementation: Function) -> Function:
        for ufunc in ufuncs:
            name = f"{name_of(ufunc)}.{method}"
            _add(_UFUNC_METHODS, (ufunc, method), implementation, name, "implements_method")
        return implementation

    return register


def implements_attribute(name: str, read: Function) -> Callable[[Function], Function]:
    """Register an attribute that can be assigned to.

    ``read(x)`` returns it. What is registered takes an array and a value, and returns what the array is after the
    assignment: itself if it is that already.
    """

    def register(assign: Function) -> Function:
        _add(_ATTRIBUTES, name, (read, assign), f"the attribute {name}", "implements_attribute")
        return assign

    return register


def implements_ufunc(op: Op, *ufuncs: np.ufunc, special: str | None = None) -> Op:
    """Map NumPy ufuncs, and a ufunc of scipy.special by name, to an op."""
    for ufunc in ufuncs:
        _add(_UFUNCS, ufunc, op, name_of(ufunc), "implements_ufunc")
    if special is not None:
        _add(_SPECIAL, special, op, f"scipy.special.{special}", "implements_ufunc")
    return op


def supported() -> frozenset[str]:
    """Return the names of the NumPy functions and ufuncs that have a traced counterpart."""
    return frozenset(name_of(f) for f in (*_FUNCTIONS, *_UFUNCS))


def name_of(function: Any) -> str:
    """Return the public name of a NumPy function or ufunc."""
    module = getattr(function, "__module__", None) or "numpy"
    return f"{module}.{function.__name__}".replace("_operator", "operator")


def refuse(op: str, **arguments: Any) -> None:
    """Raise for arguments that were given but cannot be honoured.

    Each keyword is a tuple ``(value, default)``; or the value alone where the default is None.
    """
    for name, value in arguments.items():
        given, default = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        if given is default or (type(given) is type(default) and given == default):
            continue
        if name == "out":
            raise _into_array(op)
        raise UnsupportedFunctionError(
            "this argument is not supported on tensors",
            op=op,
            argument=name,
            expected=repr(default),
            got=repr(given),
            remedy=f"leave {name} out",
        )


def _into_array(op: str) -> LostGradientError:
    return LostGradientError(
        "writing a tensor into an existing array would lose its gradient",
        op=op,
        argument="out",
        expected="no out argument, and no in-place operator on an ndarray",
        remedy="write x = x + t instead of x += t (or out=x)",
    )


def unsupported(name: str) -> UnsupportedFunctionError:
    """Return the error for a function without traced counterpart."""
    return UnsupportedFunctionError(
        "this function has no traced counterpart",
        op=name,
        remedy="compose it from supported functions, those in docs/numpy.md",
    )


def call_function(function: Any, args: Any, kwargs: Any, tensor: Any) -> Any:
    """Serve ``__array_function__`` of a tensor."""
    implementation = _FUNCTIONS.get(function)
    if implementation is None:
        creation = _CREATIONS.get(function)
        if creation is not None:
            return creation(tensor, *args, **kwargs)
        raise unsupported(name_of(function))
    return _strong(implementation(*args, **kwargs))


def _strong(result: Any) -> Any:
    """Return a result that does not yield to other dtypes: NumPy functions return NumPy scalars."""
    spec = getattr(result, "spec", None)
    if type(spec) is Spec and spec.weak:
        return result._trace.strong(result)
    return result


def call_ufunc(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Serve ``__array_ufunc__``."""
    if method != "__call__":
        return _call_ufunc_method(ufunc, method, inputs, kwargs)
    implementation = _UFUNCS.get(ufunc)
    if implementation is None:
        implementation = _special(ufunc)
        if len(inputs) == 1:
            inputs = (_not_in_half(ufunc, inputs[0]),)
    dtype = None
    if kwargs:
        dtype = kwargs.pop("dtype", None)
        refuse(name_of(ufunc), out=kwargs.pop("out", None))
        refuse(name_of(ufunc), where=(kwargs.pop("where", True), True), order=(kwargs.pop("order", "K"), "K"))
        refuse(name_of(ufunc), casting=(kwargs.pop("casting", "same_kind"), "same_kind"), **kwargs)
    if dtype is not None:
        inputs = tuple([_as_dtype(ufunc, x, np.dtype(dtype)) if hasattr(x, "dtype") else x for x in inputs])
    for i, x in enumerate(inputs):
        if type(x) is list or type(x) is tuple:
            inputs = (*inputs[:i], np.asarray(x), *inputs[i + 1 :])
    if type(implementation) is not Op:
        return _strong(implementation(*inputs))
    return _strong(innermost(inputs).bind(implementation, inputs))


def _as_dtype(ufunc: np.ufunc, x: Any, dtype: np.dtype[Any]) -> Any:
    """Return an argument in the dtype that a call of a ufunc names; it must not lose a kind of number in it."""
    if not np.can_cast(x.dtype, dtype, "same_kind"):
        raise DTypeError(
            "a dtype that the arguments do not cast to",
            op=name_of(ufunc),
            argument="dtype",
            expected=f"one that holds {x.dtype}",
            got=dtype,
            remedy="convert the arguments with astype, or take np.real",
        )
    return np.astype(x, dtype)


def _special(ufunc: np.ufunc) -> Function:
    special = sys.modules.get("scipy.special")
    op = _SPECIAL.get(ufunc.__name__)
    if op is None or special is None or getattr(special, ufunc.__name__, None) is not ufunc:
        module = "scipy.special" if hasattr(special, ufunc.__name__) else "numpy"
        raise unsupported(f"{module}.{ufunc.__name__}")
    return op


def _not_in_half(ufunc: np.ufunc, x: Any) -> Any:
    """Return the argument of one of SciPy's ufuncs, in the precision of the loop that this SciPy has for it."""
    if x.dtype == np.float16:
        return np.astype(x, np.float64)
    return np.astype(x, ufunc.resolve_dtypes((x.dtype, None))[0]) if x.dtype.kind in "biu" else x


def _call_ufunc_method(ufunc: np.ufunc, method: str, inputs: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    names: tuple[str, ...]
    if method == "reduce" and ufunc in _REDUCTIONS:
        names = ("axis", "dtype", "out", "keepdims", "initial", "where")
        given = dict(zip(names, inputs[1:], strict=False)) | kwargs
        given = {"axis": 0} | {k: v for k, v in given.items() if k == "axis" or v is not None}
        if not isinstance(given.get("keepdims", False), bool) or given.get("keepdims") is False:
            given.pop("keepdims", None)
        return _REDUCTIONS[ufunc](inputs[0], **given)
    if method == "accumulate" and ufunc in _ACCUMULATIONS:
        names = "axis", "dtype", "out"
        given = {"axis": 0} | dict(zip(names, inputs[1:], strict=False)) | kwargs
        return _ACCUMULATIONS[ufunc](inputs[0], **given)
    if method == "outer":
        a, b = [_strong(x) if hasattr(x, "spec") else np.asarray(x) for x in inputs]
        return ufunc(np.reshape(a, np.shape(a) + (1,) * np.ndim(b)), b, **kwargs)
    if method == "at":
        return _change_at(ufunc, *inputs)
    implementation = _UFUNC_METHODS.get((ufunc, method))
    if implementation is not None:
        return _strong(implementation(*inputs, **kwargs))
    raise unsupported(f"{name_of(ufunc)}.{method}")


def _change_at(ufunc: np.ufunc, target: Any, index: Any, *values: Any) -> None:
    """Let a tensor stand for the array with a part changed, as an item assignment does."""
    name = f"{name_of(ufunc)}.at"
    if not hasattr(target, "_rebind"):
        raise _into_array(name)
    change = _UFUNC_METHODS.get((ufunc, "at"))
    if change is None:
        raise UnsupportedFunctionError(
            "only add and subtract have a traced counterpart of at",
            op=name,
            argument="ufunc",
            expected="numpy.add or numpy.subtract",
            got=name_of(ufunc),
            remedy="assign where no element is named twice: x[i] = ufunc(x[i], v)",
        )
    target._rebind(change(target, index, *values), index, name)


#: What to write instead of some attributes of arrays; those of others, a value has.
_INSTEAD = {
    "view": "use x.astype(dtype), or x[...]",
    "resize": "use np.resize, which fills up with elements instead of zeros",
    "put": "assign x[i] = v",
}
_INSTEAD |= dict.fromkeys(("device", "to_device"), "use with gl.device(...)")


def _refused(name: str) -> property:
    """Return what raises for an attribute of arrays that tensors do not have."""

    def refuse(tensor: Any) -> NoReturn:
        raise MissingAttributeError(
            "a tensor is no array in memory, and lacks this attribute of arrays",
            op=name,
            expected="what docs/numpy.md lists, as a method or property",
            remedy=_INSTEAD.get(name, f"use np.asarray(gl.stop_gradient(x)).{name}, where no gradient is to flow"),
        )

    return property(refuse)


def _reshape_method(tensor: Any, *shape: Any, order: str = "C", copy: bool | None = None) -> Any:
    out = np.reshape(tensor, shape[0] if len(shape) == 1 else shape, order=order)  # type: ignore[call-overload]
    return out.copy() if copy else out


def _transpose_method(tensor: Any, *axes: Any) -> Any:
    return np.transpose(tensor, axes[0] if len(axes) == 1 else axes or None)


def _flatten_method(tensor: Any, order: Any = "C") -> Any:
    return np.ravel(tensor, order).copy()


def _conjugate_method(tensor: Any) -> Any:
    return np.conjugate(tensor) if tensor.dtype.kind == "c" else tensor


def _compress_method(tensor: Any, condition: Any, axis: Any = None, out: Any = None) -> Any:
    return np.compress(condition, tensor, axis, out)


def _fill_method(tensor: Any, value: Any) -> None:
    tensor[...] = value


def _sort_method(tensor: Any, axis: Any = -1, kind: Any = None, order: Any = None, *, stable: Any = None) -> None:
    tensor._rebind(np.sort(tensor, axis, kind, order, stable=stable), None, "sort()")


def _partition_method(tensor: Any, kth: Any, axis: Any = -1, kind: Any = "introselect", order: Any = None) -> None:
    tensor._rebind(np.partition(tensor, kth, axis, kind, order), None, "partition()")


_OWN_METHODS: dict[str, Function] = {
    "compress": _compress_method,
    "conj": _conjugate_method,
    "conjugate": _conjugate_method,
    "fill": _fill_method,
    "flatten": _flatten_method,
    "partition": _partition_method,
    "reshape": _reshape_method,
    "sort": _sort_method,
    "transpose": _transpose_method,
}
#: Array methods: most are the NumPy function of that name.
METHODS: Mapping[str, Function] = MappingProxyType({name: getattr(np, name) for name in _SAME_NAMES} | _OWN_METHODS)
#: The public attributes of arrays as a class of tensors has them: methods, properties, and refusals.
ARRAY_ATTRIBUTES: Mapping[str, Any] = MappingProxyType(
    {name: _refused(name) for name in (*dir(np.ndarray), *_INSTEAD) if name[0] != "_"}
    | {name: property(f, doc=f"`numpy.{f.__name__}` of the tensor.") for name, f in PROPERTIES.items()}
    | dict(METHODS)
)


def power(x: Any, y: Any) -> Any:
    """Serve the ``**`` operator."""
    return _FUNCTIONS[operator.pow](x, y)


def getitem(x: Any, index: Any) -> Any:
    """Serve ``x[index]``."""
    return _FUNCTIONS[operator.getitem](x, index)


def setitem(x: Any, index: Any, value: Any) -> Any:
    """Return what ``x`` is after ``x[index] = value``."""
    return _FUNCTIONS[operator.setitem](x, index, value)


def attribute(name: str) -> property:
    """Return the property of tensors for an attribute that can be assigned to."""

    def read(tensor: Any) -> Any:
        return _ATTRIBUTES[name][0](tensor)

    def assign(tensor: Any, value: Any) -> None:
        changed = _ATTRIBUTES[name][1](tensor, value)
        if changed is not tensor:
            tensor._rebind(changed, None, f"an assignment to .{name}", value)

    return property(read, assign)
