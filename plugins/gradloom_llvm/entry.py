'''Native functions as Python builtins, and IR that reads Python objects.

A call of a builtin costs a tenth of a call through ctypes. The function has the signature of ``METH_FASTCALL``::

    ptr @name(ptr %self, ptr %arguments, i64 %count)

and returns a new reference, or null with an exception set. It is entered with the GIL held::

    ir = prelude() + opening("scale", 2) + """
      %fits = call i1 @is_array(ptr %arg0, i32 12, i32 1, i32 1281)  ; float64, contiguous, aligned, writeable
      br i1 %fits, label %run, label %unfit
    run:
      %data = call ptr @array_data(ptr %arg0)
      %n = call i64 @array_size(ptr %arg0, i64 0)
      %large = icmp ugt i64 %n, 4096
      %state = call ptr @release_gil(i1 %large)
      ...
      call void @take_gil(ptr %state)
      %none = call ptr @none()
      ret ptr %none
    unfit:
      %null = call ptr @raise_type_error(ptr @message)
      ret ptr %null
    }
    """
    scale = builtin(load(ir), "scale", doc="Scale an array in place.")

What `prelude` defines, all inlined (``ptr %a`` is an argument, a borrowed reference):

=====================================  ==============================================================================
``i1 @is_array(%a, i32 n, i32 r, i32 f)``
                                       exactly ``ndarray``, of the dtype with ``dtype.num == n`` in native byte order,
                                       of rank `r`, and with at least the flags `f`: 1 C-contiguous,
                                       2 Fortran-contiguous, 256 aligned, 1024 writeable, or sums of them
``ptr @array_data(%a)``                address of the first element
``i32 @array_rank(%a)``                number of axes
``i64 @array_size(%a, i64 axis)``      length of an axis
``i64 @array_stride(%a, i64 axis)``    bytes from one element to the next along an axis
``i1 @is_float(%a)``                   exactly ``float`` or ``numpy.float64``
``double @float_value(%a)``            its value
``i1 @is_float32(%a)``                 exactly ``numpy.float32``
``float @float32_value(%a)``           its value
``ptr @none()``                        a new reference to None
``ptr @raise_type_error(ptr text)``    sets the exception, returns null; `text` ends with a zero byte
``ptr @raise_value_error(ptr text)``   the same
``ptr @release_gil(i1 when)``          lets other threads run if `when`; until `take_gil`, touch no Python object
``void @take_gil(ptr state)``          ends what `release_gil` began
=====================================  ==============================================================================
'''

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

import numpy as np

from gradloom_llvm.engine import Library

__all__ = ["builtin", "object_layout", "opening", "prelude", "unavailable"]

_METH_FASTCALL: Final = 0x80


def object_layout() -> dict[str, int]:
    """Return where the fields of an array, its dtype and the scalars stand: bytes from the start of the object.

    It is the layout for this Python; NumPy's headers promise the order of the fields.
    """
    head = object.__basicsize__  # reference count and type, and more in a build without GIL
    of_array = {"type": head - 8, "data": head, "ndim": head + 8, "shape": head + 16, "strides": head + 24}
    of_array |= {"descr": head + 40, "flags": head + 48}  # after `base`
    of_dtype = {"byteorder": head + 10, "type_num": head + 12}  # after a pointer and two characters
    return of_array | of_dtype | {"value": head}  # of a ``float``, ``numpy.float64`` or ``numpy.float32``


@cache
def unavailable() -> str | None:
    """Return why native code cannot read Python's objects here, or None if it can; checked on real arrays."""
    if sys.implementation.name != "cpython":
        return f"the layout of objects is known for CPython, not for {sys.implementation.name}"
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return "the layout of arrays is known for 64-bit processes"
    layout = object_layout()
    if object.__basicsize__ not in (16, 32) or np.ndarray.__basicsize__ < layout["flags"] + 4:
        return f"unknown layout of objects: {object.__basicsize__} bytes of head, {np.ndarray.__basicsize__} of array"
    cube = np.zeros((3, 4, 5))
    samples = (np.zeros(()), np.zeros(0, "f4"), cube, cube[::-1, ::2].T, np.asfortranarray(cube), np.zeros(7, "i4")[1:])
    for array in (*samples, np.broadcast_to(np.zeros(2, bool), (3, 2)), cube.view(cube.dtype.newbyteorder())):
        wrong = _differing(array, layout)
        if wrong:
            return f"arrays of NumPy {np.__version__} do not have their {', '.join(wrong)} where its headers say"
    if not all(_read(ctypes.c_double, x, layout["value"]) == 1.25 for x in (1.25, np.float64(1.25))):
        return "floats do not hold their value where Python's headers say"
    if _read(ctypes.c_float, np.float32(1.25), layout["value"]) != 1.25:
        return "a numpy.float32 does not hold its value where its headers say"
    return None


def _read(kind: Any, thing: Any, offset: int) -> Any:
    return kind.from_address(id(thing) + offset).value


def _differing(array: Any, layout: Mapping[str, int]) -> list[str]:
    """Return the fields of `array` that differ from what Python says; pointers are followed only if all else fits."""
    fields: dict[str, tuple[Any, Any]] = {
        "type": (_read(ctypes.c_size_t, array, layout["type"]), id(type(array))),
        "data": (_read(ctypes.c_size_t, array, layout["data"]), array.__array_interface__["data"][0]),
        "ndim": (_read(ctypes.c_int, array, layout["ndim"]), array.ndim),
        "descr": (_read(ctypes.c_size_t, array, layout["descr"]), id(array.dtype)),
        "flags": (_read(ctypes.c_int, array, layout["flags"]), array.flags.num),
        "byteorder": (chr(_read(ctypes.c_uint8, array.dtype, layout["byteorder"])), array.dtype.byteorder),
        "type_num": (_read(ctypes.c_int, array.dtype, layout["type_num"]), array.dtype.num),
    }
    wrong = [name for name, (read, expected) in fields.items() if read != expected]
    if wrong or array.ndim == 0:
        return wrong
    numbers = ctypes.c_ssize_t * array.ndim
    for name, offset, expected in (
        ("shape", layout["shape"], array.shape),
        ("strides", layout["strides"], array.strides),
    ):
        address = _read(ctypes.c_size_t, array, offset)
        if not address or address % 8 or tuple(numbers.from_address(address)) != expected:
            wrong.append(name)
    return wrong


@cache
def prelude() -> str:
    """Return the IR that entries begin with: the functions named in this module's table, and what they need."""
    layout = object_layout()
    fields = "\n".join(
        f"""define internal {kind} @{name}(ptr %object) alwaysinline nounwind {{
  %field = getelementptr i8, ptr %object, i64 {offset}
  %value = load {kind}, ptr %field
  ret {kind} %value
}}"""
        for name, kind, offset in (
            ("type_of", "ptr", layout["type"]),
            ("array_data", "ptr", layout["data"]),
            ("array_rank", "i32", layout["ndim"]),
            ("array_flags", "i32", layout["flags"]),
            ("array_shape", "ptr", layout["shape"]),
            ("array_strides", "ptr", layout["strides"]),
            ("array_descr", "ptr", layout["descr"]),
            ("descr_byteorder", "i8", layout["byteorder"]),
            ("descr_number", "i32", layout["type_num"]),
            ("float_value", "double", layout["value"]),
            ("float32_value", "float", layout["value"]),
        )
    )
    swapped = ord(">" if sys.byteorder == "little" else "<")
    return _SYMBOLS + fields + _FUNCTIONS.replace("SWAPPED", str(swapped))


_SYMBOLS: Final = """
@PyArray_Type = external global i8
@PyDoubleArrType_Type = external global i8
@PyFloatArrType_Type = external global i8
@PyFloat_Type = external global i8
@_Py_NoneStruct = external global i8
@PyExc_TypeError = external global ptr
@PyExc_ValueError = external global ptr
declare void @Py_IncRef(ptr)
declare void @PyErr_SetString(ptr, ptr)
declare ptr @PyErr_Format(ptr, ptr, ...)
declare ptr @PyEval_SaveThread()
declare void @PyEval_RestoreThread(ptr)
@gradloom.count = private constant [43 x i8] c"expected %zd positional arguments, got %zd\\00"
"""

_FUNCTIONS: Final = """
define internal i1 @is_array(ptr %object, i32 %number, i32 %rank, i32 %flags) alwaysinline nounwind {
  %type = call ptr @type_of(ptr %object)
  %exact = icmp eq ptr %type, @PyArray_Type
  br i1 %exact, label %array, label %done
array:
  %descr = call ptr @array_descr(ptr %object)
  %its_number = call i32 @descr_number(ptr %descr)
  %its_rank = call i32 @array_rank(ptr %object)
  %its_flags = call i32 @array_flags(ptr %object)
  %a = xor i32 %its_number, %number
  %b = xor i32 %its_rank, %rank
  %c = xor i32 %its_flags, -1  ; what it lacks
  %d = and i32 %c, %flags
  %order = call i8 @descr_byteorder(ptr %descr)
  %g = icmp eq i8 %order, SWAPPED
  %h = zext i1 %g to i32
  %i = or i32 %a, %b
  %j = or i32 %d, %h
  %k = or i32 %i, %j
  %fits = icmp eq i32 %k, 0
  br label %done
done:
  %result = phi i1 [ false, %0 ], [ %fits, %array ]
  ret i1 %result
}
define internal i64 @array_size(ptr %object, i64 %axis) alwaysinline nounwind {
  %shape = call ptr @array_shape(ptr %object)
  %field = getelementptr i64, ptr %shape, i64 %axis
  %value = load i64, ptr %field
  ret i64 %value
}
define internal i64 @array_stride(ptr %object, i64 %axis) alwaysinline nounwind {
  %strides = call ptr @array_strides(ptr %object)
  %field = getelementptr i64, ptr %strides, i64 %axis
  %value = load i64, ptr %field
  ret i64 %value
}
define internal i1 @is_float(ptr %object) alwaysinline nounwind {
  %type = call ptr @type_of(ptr %object)
  %a = icmp eq ptr %type, @PyFloat_Type
  %b = icmp eq ptr %type, @PyDoubleArrType_Type
  %either = or i1 %a, %b
  ret i1 %either
}
define internal i1 @is_float32(ptr %object) alwaysinline nounwind {
  %type = call ptr @type_of(ptr %object)
  %fits = icmp eq ptr %type, @PyFloatArrType_Type
  ret i1 %fits
}
define internal ptr @none() alwaysinline nounwind {
  call void @Py_IncRef(ptr @_Py_NoneStruct)
  ret ptr @_Py_NoneStruct
}
define internal ptr @raise_type_error(ptr %text) alwaysinline nounwind {
  %kind = load ptr, ptr @PyExc_TypeError
  call void @PyErr_SetString(ptr %kind, ptr %text)
  ret ptr null
}
define internal ptr @raise_value_error(ptr %text) alwaysinline nounwind {
  %kind = load ptr, ptr @PyExc_ValueError
  call void @PyErr_SetString(ptr %kind, ptr %text)
  ret ptr null
}
define internal ptr @release_gil(i1 %when) alwaysinline nounwind {
  br i1 %when, label %release, label %done
release:
  %state = call ptr @PyEval_SaveThread()
  br label %done
done:
  %result = phi ptr [ null, %0 ], [ %state, %release ]
  ret ptr %result
}
define internal void @take_gil(ptr %state) alwaysinline nounwind {
  %released = icmp ne ptr %state, null
  br i1 %released, label %take, label %done
take:
  call void @PyEval_RestoreThread(ptr %state)
  br label %done
done:
  ret void
}
"""


def opening(symbol: str, arity: int) -> str:
    """Return the IR of an entry up to its block ``body``, where its arguments are ``%arg0``, ``%arg1``, ...

    Another number of arguments raises TypeError. What follows is the rest of the function, with its closing brace.
    """
    loads = "\n".join(
        f"  %arg{i}.place = getelementptr ptr, ptr %arguments, i64 {i}\n  %arg{i} = load ptr, ptr %arg{i}.place"
        for i in range(arity)
    )
    return f"""
define ptr @{symbol}(ptr %self, ptr %arguments, i64 %count) noinline optnone nounwind {{
  %fits.count = icmp eq i64 %count, {arity}
  br i1 %fits.count, label %body, label %unfit.count
unfit.count:
  %unfit.kind = load ptr, ptr @PyExc_TypeError
  %unfit.null = call ptr (ptr, ptr, ...) @PyErr_Format(ptr %unfit.kind, ptr @gradloom.count, i64 {arity}, i64 %count)
  ret ptr null
body:
{loads}
"""


#: The end of an entry that returns None, and its block ``misfit``, for arguments that do not fit; what it says then
#: is the `@gradloom.misfit` of the module.
CLOSING = """
  %none = call ptr @none()
  ret ptr %none
misfit:
  %null = call ptr @raise_type_error(ptr @gradloom.misfit)
  ret ptr %null
}
"""


class _MethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("function", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


def _hidden(held: object) -> Any:
    """Return an object that keeps `held` alive out of sight of the garbage collector.

    Where a builtin is part of a garbage cycle, the collector would finalise what it sees behind the builtin, in any
    order, and other finalisers may still call the builtin. Arrays are not looked into.
    """
    box = np.empty(1, object)
    box[0] = held
    return box


def builtin(library: Library, symbol: str, *, name: str | None = None, doc: str | None = None) -> Callable[..., Any]:
    """Return the function `symbol` of `library` as a Python builtin.

    Parameters
    ----------
    library : Library
        Where the function is; it lives as long as the builtin.
    symbol : str
        A function of the signature given above. It checks its own arguments; `opening` checks their number.
    name, doc : str, optional
        The builtin's ``__name__`` (by default `symbol`) and ``__doc__``.

    Returns
    -------
    builtin_function_or_method
        It takes positional arguments only.
    """
    definition = _MethodDef(
        (name or symbol).encode(), library.address(symbol), _METH_FASTCALL, None if doc is None else doc.encode()
    )
    make = ctypes.pythonapi["PyCFunction_NewEx"]
    make.argtypes = (ctypes.POINTER(_MethodDef), ctypes.py_object, ctypes.c_void_p)
    make.restype = ctypes.py_object
    function: Callable[..., Any] = make(definition, _hidden((library, definition)), None)
    return function
