"""Closure: what a function reads besides its arguments, so that it can be told whether that has changed."""

from __future__ import annotations

import builtins
import sys
from abc import ABC, ABCMeta
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property, partial
from opcode import opmap
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodType,
    ModuleType,
    NoneType,
    SimpleNamespace,
)
from typing import Any, Generic, Protocol, final

import numpy as np

from gradloom.op import Op
from gradloom.pytree import told_apart

#: Bytes of the arrays whose content is compared, at most.
SMALL = 4096
#: Values that are looked at, at most.
MOST = 5000

#: Modules that stay as they are, but for what tells the time or is random there.
_LIBRARIES = (frozenset({"numpy", "scipy", "gradloom"}) | sys.stdlib_module_names) - frozenset(
    "datetime nt os posix random secrets sys time uuid".split()
)
#: What a function may read by that cannot be seen from outside: names made as it runs, files, settings of libraries.
_OPAQUE = frozenset(
    "__import__ __dict__ __getattribute__ __globals__ attrgetter compile dir eval exec fromfile genfromtxt getattr "
    "getattr_static getcontext geterr getmembers globals hasattr import_module input load loadmat loadtxt locals "
    "memmap methodcaller open read_bytes read_text reload vars".split()
)
_NUMBERS = frozenset({int, float, complex, bool, str, bytes, NoneType, type(...), slice, range})
#: A flag of classes that are written in Python.
_IN_PYTHON = 1 << 9
#: Classes that add no content to objects, and those of classes.
_BASES = frozenset({object, ABC, Generic, Protocol})
_METACLASSES = frozenset({type, ABCMeta, type(Protocol)})
#: Entries of classes that nothing is read of, and those that decide what is read.
_METADATA = frozenset(
    "__module__ __qualname__ __doc__ __annotations__ __annotate_func__ __annotations_cache__ __slots__ __orig_bases__ "
    "__parameters__ __abstractmethods__ _abc_impl __dataclass_params__ __match_args__ __final__ "
    "__firstlineno__ __static_attributes__ __protocol_attrs__ __non_callable_proto_members__".split()
)
_HOOKS = frozenset({"__getattr__", "__getattribute__"})
#: What is the same as long as it is the same object.
_FIXED: tuple[type, ...] = (Op, np.ufunc, np.dtype, type(np.sum))
#: How `numpy.frompyfunc` calls what it makes of a function, which it does not show.
_OF_PYTHON = " (vectorized)"
_IMPORT = opmap["IMPORT_NAME"]


def closed_over(*roots: Any) -> Hashable | None:
    """Return what functions and what they are given read besides their arguments.

    Parameters
    ----------
    *roots : object
        Functions, and static arguments.

    Returns
    -------
    hashable, optional
        Equal as long as nothing of it has changed: numbers, functions, small arrays, lists and dicts of such, found in
        closures, defaults, globals and modules, and in objects of the user's classes. None where there may be more than
        can be compared: large arrays, generators of random numbers, time, and whatever else changes unseen.

    Notes
    -----
    It takes some microseconds for each function and for each value that it reads.

    Examples
    --------
    >>> from gradloom.closure import closed_over
    >>> scale = 2.0
    >>> before = closed_over(lambda x: scale * x)
    >>> scale = 3.0
    >>> closed_over(lambda x: scale * x) == before
    False
    """
    return _Reader().content(roots)


@final
class _Same:
    """Equal to what holds the same object."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __eq__(self, other: object) -> bool:
        return type(other) is _Same and other._value is self._value

    def __hash__(self) -> int:
        return id(self._value)


@final
class _Reader:
    """Follows what is read, and takes note of it."""

    def __init__(self) -> None:
        self._found: list[Any] = []
        #: What was seen by identity, its place, and itself, so that nothing else takes its identity.
        self._seen: dict[int, tuple[int, Any]] = {}
        #: What is to be looked at. Functions may call each other a thousand deep, which no recursion here could follow.
        self._pending: list[Any] = []
        #: The names that functions read, of globals and attributes, and those looked up in each module: functions may
        #: be given modules by others.
        self._names: set[str] = set()
        self._modules: dict[ModuleType, set[str]] = {}

    def content(self, roots: Sequence[Any]) -> Hashable | None:
        """Return what there is to compare; None where that is not all."""
        self._pending += roots
        while self._pending or self._look_into_modules():
            if not self._sees(self._pending.pop()) or len(self._found) > MOST:
                return None
        return tuple(self._found)

    def _look_into_modules(self) -> bool:
        """Go on with what modules hold by the names that are read; return whether that is anything."""
        for module, looked in self._modules.items():
            names = sorted((self._names - looked) & vars(module).keys())
            looked |= self._names
            self._found.append(tuple(names))
            self._pending += [vars(module)[name] for name in names]
        return bool(self._pending)

    def _sees(self, value: Any) -> bool:
        """Take note of a value, and go on with its parts; return whether it can be compared."""
        kind = type(value)
        if kind in _NUMBERS:
            self._found.append((kind, repr(value)) if kind is slice or kind is range else told_apart(value))
            return True
        known = self._seen.get(id(value))
        if known is not None:
            self._found.append(known[0])
            return True
        self._seen[id(value)] = len(self._seen), value
        look = _LOOKS.get(kind)
        if look is not None:
            return look(self, value)
        if issubclass(kind, np.generic):
            return self._scalar(value)
        if issubclass(kind, _FIXED):
            self._found.append(value)
            return not (issubclass(kind, np.ufunc) and value.__name__.endswith(_OF_PYTHON))
        if issubclass(kind, type):
            return self._class(value)
        return kind.__flags__ & _IN_PYTHON != 0 and self._object(value)

    def _all(self, kind: Any, values: Collection[Any]) -> bool:
        self._found.append((kind, len(values)))
        if len(values) > MOST:
            return False
        self._pending += values
        return True

    def _sequence(self, value: Any) -> bool:
        return self._all(type(value), value)

    def _dict(self, value: Any) -> bool:
        return self._all(dict, list(value)) and self._all(dict, list(value.values()))

    def _array(self, value: Any) -> bool:
        if value.nbytes > SMALL or value.dtype.hasobject:
            return False
        # Another one of the same content would be another input of the graph, which may change by itself.
        self._found.append((_Same(value), value.dtype, value.shape, value.tobytes()))
        return True

    def _scalar(self, value: Any) -> bool:
        self._found.append((type(value), value.dtype, value.tobytes()))
        return _is_library(type(value).__module__) and not value.dtype.hasobject

    def _module(self, value: Any) -> bool:
        self._found.append(value)
        self._modules[value] = set()
        return "__getattr__" not in vars(value) or _is_library(vars(value).get("__name__"))

    def _builtin(self, value: Any) -> bool:
        self._found.append(value)
        return isinstance(value.__self__, (ModuleType, NoneType)) and _is_library(value.__module__ or "numpy")

    def _partial(self, value: Any) -> bool:
        parts = value.func, *value.args, *value.keywords.items(), *vars(value).items()
        return self._all(partial, parts)

    def _function(self, value: Any) -> bool:
        name = value.__globals__.get("__name__", "")
        attributes = vars(value)
        try:
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
        except ValueError:  # not bound yet
            return False
        if _is_library(name):
            return self._wrapper(value, name.partition(".")[0], cells)
        self._found.append(value.__code__)
        if attributes.keys() - {"__wrapped__"}:
            return False
        given = cells, value.__defaults__ or (), list((value.__kwdefaults__ or {}).items())
        return all([self._all(None, values) for values in given]) and self._code(value)

    def _wrapper(self, value: Any, library: str, cells: list[Any]) -> bool:
        """Take note of a library's function, and of those of the user's that it calls."""
        self._found.append(value)
        inner = vars(value).get("__wrapped__")
        if cells and (library == "functools" or (inner is None and library == "gradloom")):
            return False  # a table of functions by type; or what else a transform knows
        return self._all(None, [cell for cell in cells if callable(cell)] if inner is None else [inner])

    def _code(self, value: Any) -> bool:
        """Take note of what the names stand for that a function reads, if they are not merely those of attributes."""
        codes = list(_codes(value.__code__))
        names = list(dict.fromkeys([name for code in codes for name in code.co_names]))
        self._names.update(names)
        outside = value.__globals__
        for name in names:
            if name in outside:
                self._pending.append(outside[name])
            elif name in _OPAQUE:
                return False
            elif name in vars(builtins):
                self._pending.append(vars(builtins)[name])
        imports = any([_IMPORT in code.co_code[::2] for code in codes])
        return not imports or all([self._imported(name, outside) for name in names])

    def _imported(self, name: str, outside: dict[str, Any]) -> bool:
        """Take note of a module that a function may import by a name."""
        package = outside.get("__package__") or ""
        while package:
            if f"{package}.{name}" in sys.modules:
                return False
            package = package.rpartition(".")[0]
        if name.partition(".")[0] in sys.modules:
            self._pending.append(sys.modules.get(name))
            return _is_library(name)
        return name != ""

    def _method(self, value: Any) -> bool:
        return self._all(MethodType, (value.__func__, value.__self__))

    def _namespace(self, value: Any) -> bool:
        return self._dict(vars(value))

    def _object(self, value: Any) -> bool:
        """Take note of all that an object of a user's class holds, and of what the methods read."""
        kind = type(value)
        if _is_library(kind.__module__):
            return False
        self._pending.append(kind)
        try:
            found = dict(object.__getattribute__(value, "__dict__"))
        except AttributeError:
            found = {}
        for cls in kind.__mro__[:-1]:
            for name, entry in list(vars(cls).items()):
                if type(entry) is MemberDescriptorType:
                    with suppress(AttributeError):  # it is empty
                        found[f"{cls.__qualname__}.{name}"] = entry.__get__(value)
        return self._dict(found)

    def _class(self, value: Any) -> bool:
        """Take note of a class: of what its methods read, and of its own attributes, if it is a user's."""
        self._found.append(value)
        if _is_library(value.__module__):  # code that is run without a module's name makes classes of builtins
            return value.__module__ != "builtins" or not value.__flags__ & _IN_PYTHON
        own = [cls for cls in value.__mro__ if cls not in _BASES]
        if type(value) not in _METACLASSES or any([_is_library(cls.__module__) for cls in own]):
            return False
        entries = [(name, entry) for cls in own for name, entry in list(vars(cls).items()) if name not in _METADATA]
        if _HOOKS & {name for name, _ in entries}:
            return False
        return all([self._all(name, _parts(entry, name)) for name, entry in entries])


_LOOKS: dict[Any, Callable[[_Reader, Any], bool]] = {
    tuple: _Reader._sequence,
    list: _Reader._sequence,
    dict: _Reader._dict,
    np.ndarray: _Reader._array,
    ModuleType: _Reader._module,
    FunctionType: _Reader._function,
    BuiltinFunctionType: _Reader._builtin,
    MethodType: _Reader._method,
    SimpleNamespace: _Reader._namespace,
    partial: _Reader._partial,
}


def _parts(entry: Any, name: str) -> tuple[Any, ...]:
    """Return what an entry of a class consists of."""
    if isinstance(entry, (staticmethod, classmethod)):
        return (entry.__func__,)
    if type(entry) is property:
        return entry.fget, entry.fset, entry.fdel
    if type(entry) is cached_property:
        return (entry.func,)
    if name == "__dataclass_fields__":
        return tuple([own.default_factory for own in entry.values() if callable(own.default_factory)])
    # Those of slots, and what dataclasses write.
    written = type(entry) is FunctionType and entry.__code__.co_qualname.startswith("__create_fn__.")
    return () if written or isinstance(entry, (MemberDescriptorType, GetSetDescriptorType)) else (entry,)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield code, and the code within it."""
    yield code
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _codes(constant)


def _is_library(module: Any) -> bool:
    """Return whether the module of a name stays as it is; what has no name is the user's."""
    if type(module) is not str:
        return False
    return module.partition(".")[0] in _LIBRARIES and not module.startswith("numpy.random")
