"""Closure: what a function reads besides its arguments, so that it can be told whether that has changed."""

from __future__ import annotations

import builtins
import sys
from abc import ABC, ABCMeta
from collections.abc import Callable, Hashable, Iterator
from functools import cached_property, partial
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
MOST = 2000

#: Modules that stay as they are, but for what tells the time or is random there.
_LIBRARIES = frozenset({"numpy", "scipy", "gradloom"}) | (sys.stdlib_module_names - {"datetime", "os", "sys", "time"})
#: What a function may read by that cannot be seen from outside.
_OPAQUE = frozenset({"__import__", "compile", "eval", "exec", "getattr", "globals", "input", "locals", "open", "vars"})
_NUMBERS = frozenset({int, float, complex, bool, str, bytes, NoneType, type(...), slice, range})
#: A flag of classes that are written in Python.
_IN_PYTHON = 1 << 9
#: Classes that add no content to objects, and those of classes.
_BASES = frozenset({object, ABC, Generic, Protocol})
_METACLASSES = frozenset({type, ABCMeta, type(Protocol)})
#: Entries of classes that nothing is read of, and those that decide what is read.
_METADATA = frozenset(
    "__module__ __qualname__ __doc__ __annotations__ __annotate_func__ __annotations_cache__ __slots__ __orig_bases__ "
    "__parameters__ __abstractmethods__ _abc_impl __dataclass_fields__ __dataclass_params__ __match_args__ __final__ "
    "__firstlineno__ __static_attributes__ __protocol_attrs__ __non_callable_proto_members__".split()
)
_HOOKS = frozenset({"__getattr__", "__getattribute__"})
#: What is the same as long as it is the same object.
_FIXED: tuple[type, ...] = (Op, np.ufunc, np.dtype, type(np.sum))


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
    reader = _Reader()
    return tuple(reader.found) if all([reader.sees(root, ()) for root in roots]) else None


@final
class _Reader:
    """Follows what is read, and takes note of it."""

    def __init__(self) -> None:
        self.found: list[Any] = []
        #: What was seen by identity, its place, and itself, so that nothing else takes its identity.
        self._seen: dict[Any, tuple[int, Any]] = {}

    def sees(self, value: Any, names: tuple[str, ...]) -> bool:
        """Take note of a value, that of a module by some names; return whether all of it can be compared."""
        kind = type(value)
        if kind in _NUMBERS or isinstance(value, np.generic):
            self.found.append(told_apart(value) if kind is not slice else (slice, repr(value)))
            return True
        key = (id(value), names) if kind is ModuleType else id(value)
        if key in self._seen:
            self.found.append(self._seen[key][0])
            return True
        self._seen[key] = len(self._seen), value
        if len(self._seen) > MOST:
            return False
        look = _LOOKS.get(kind)
        if look is not None:
            return look(self, value, names)
        if isinstance(value, _FIXED):
            self.found.append(value)
            return True
        if isinstance(value, type):
            return self._class(value, names)
        return kind.__flags__ & _IN_PYTHON != 0 and self._object(value, names)

    def _all(self, kind: Any, values: Any, names: tuple[str, ...]) -> bool:
        values = list(values)
        self.found.append((kind, len(values)))
        return all([self.sees(value, names) for value in values])

    def _sequence(self, value: Any, names: tuple[str, ...]) -> bool:
        return self._all(type(value), value, names)

    def _dict(self, value: Any, names: tuple[str, ...]) -> bool:
        return self._all(dict, value, names) and self._all(dict, value.values(), names)

    def _array(self, value: Any, names: tuple[str, ...]) -> bool:
        if value.nbytes > SMALL or value.dtype.hasobject:
            return False
        self.found.append((value.dtype, value.shape, value.tobytes()))
        return True

    def _module(self, value: Any, names: tuple[str, ...]) -> bool:
        self.found.append(value)
        own = vars(value)
        if "__getattr__" in own and not _is_library(value.__name__):
            return False
        return value.__name__ != "time" and all([self.sees(own[name], names) for name in names if name in own])

    def _builtin(self, value: Any, names: tuple[str, ...]) -> bool:
        self.found.append(value)
        return isinstance(value.__self__, (ModuleType, NoneType)) and _is_library(value.__module__ or "numpy")

    def _partial(self, value: Any, names: tuple[str, ...]) -> bool:
        return self._all(partial, (value.func, *value.args, *value.keywords.items()), names)

    def _function(self, value: Any, names: tuple[str, ...]) -> bool:
        name = value.__globals__.get("__name__", "")
        attributes = vars(value)
        inner = attributes.get("__wrapped__")
        if _is_library(name):  # a transform of gradloom's knows what it transforms
            self.found.append(value)
            ours = name.partition(".")[0] == "gradloom" and value.__closure__ is not None
            return not ours or (inner is not None and self.sees(inner, names))
        self.found.append(value.__code__)
        if attributes.keys() - {"__wrapped__"}:
            return False
        try:
            cells = [cell.cell_contents for cell in value.__closure__ or ()]
        except ValueError:  # not bound yet
            return False
        own = tuple(dict.fromkeys(_names(value.__code__)))
        given = (cells, value.__defaults__ or (), list((value.__kwdefaults__ or {}).items()))
        return all([self._all(None, values, own) for values in given]) and all(
            [self._named(n, value.__globals__, own) for n in own]
        )

    def _method(self, value: Any, names: tuple[str, ...]) -> bool:
        return self.sees(value.__func__, names) and self.sees(value.__self__, names)

    def _namespace(self, value: Any, names: tuple[str, ...]) -> bool:
        return self._dict(vars(value), names)

    def _object(self, value: Any, names: tuple[str, ...]) -> bool:
        """Take note of all that an object of a user's class holds, and of what the methods read."""
        if _is_library(type(value).__module__):
            return False
        classes = type(value).__mro__[:-1]
        found = dict(getattr(value, "__dict__", {}))
        for cls in classes:
            for name, entry in vars(cls).items():
                names += tuple(_names(entry.__code__)) if type(entry) is FunctionType else ()
                if type(entry) is MemberDescriptorType and hasattr(value, name):
                    found[name] = getattr(value, name)
                elif type(entry) is cached_property:  # what it gives follows from all the rest
                    found.pop(name, None)
        return self.sees(type(value), names) and self._dict(found, names)

    def _class(self, value: Any, names: tuple[str, ...]) -> bool:
        """Take note of a class: of what its methods read, and of its own attributes, if it is a user's."""
        self.found.append(value)
        if _is_library(value.__module__):
            return True
        own = [cls for cls in value.__mro__ if cls not in _BASES]
        if type(value) not in _METACLASSES or any([_is_library(cls.__module__) for cls in own]):
            return False
        entries = [(name, entry) for cls in own for name, entry in vars(cls).items() if name not in _METADATA]
        if _HOOKS & {name for name, _ in entries}:
            return False
        return all([self._all(name, _parts(entry), names) for name, entry in entries])

    def _named(self, name: str, outside: dict[str, Any], names: tuple[str, ...]) -> bool:
        """Take note of what a name stands for outside a function, if it is not merely that of an attribute."""
        if name in outside:
            return self.sees(outside[name], names)
        if hasattr(builtins, name):
            return name not in _OPAQUE
        module = name.partition(".")[0]
        return module not in sys.modules or _is_library(module)  # it may be imported in the function


_LOOKS: dict[Any, Callable[[_Reader, Any, tuple[str, ...]], bool]] = {
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


def _parts(entry: Any) -> tuple[Any, ...]:
    """Return what an entry of a class consists of."""
    if isinstance(entry, (staticmethod, classmethod)):
        return (entry.__func__,)
    if type(entry) is property:
        return entry.fget, entry.fset, entry.fdel
    if type(entry) is cached_property:
        return (entry.func,)
    # Those of slots, and what dataclasses write.
    written = type(entry) is FunctionType and entry.__code__.co_filename == "<string>"
    return () if written or isinstance(entry, (MemberDescriptorType, GetSetDescriptorType)) else (entry,)


def _names(code: CodeType) -> Iterator[str]:
    """Yield the names that code reads, and the code within it: those of globals, and of attributes."""
    yield from code.co_names
    for constant in code.co_consts:
        if type(constant) is CodeType:
            yield from _names(constant)


def _is_library(module: str) -> bool:
    """Return whether a module stays as it is."""
    return module.partition(".")[0] in _LIBRARIES
