"""Inverses by the LAPACK that SciPy carries, where there is one: in less than half of NumPy's time.

NumPy solves for the columns of the identity; LAPACK's ``getri`` inverts the factors in place. It is called through the
addresses that SciPy publishes for Cython, without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from gradloom.blas import limit_new_libraries

#: From this order on an inverse is worth the import of SciPy's linear algebra, 0.1 s once a process.
LARGE = 100

#: Columns that ``getri`` works on together, if the workspace allows it.
_BLOCK = 64


class _Routines(NamedTuple):
    getrf: Callable[..., None]
    getri: Callable[..., None]


@cache
def _routines(dtype: str) -> _Routines | None:
    """Return LAPACK's LU factorisation, and the inverse from it, for one of the dtypes ``fdFD``; None without SciPy."""
    try:
        from scipy.linalg import cython_lapack
    except ImportError:
        return None
    limit_new_libraries()
    prefix = {"f": "s", "d": "d", "F": "c", "D": "z"}[dtype]
    capsules = cython_lapack.__pyx_capi__
    return _Routines(_function(capsules[f"{prefix}getrf"], 6), _function(capsules[f"{prefix}getri"], 7))


def _function(capsule: Any, arguments: int) -> Callable[..., None]:
    """Return the function at the address in a capsule; as all of Fortran's, it takes addresses."""
    python = ctypes.pythonapi
    name = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", python))
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", python))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address(capsule, name(capsule)))


def inv(a: Any) -> Any:
    """Return the inverse of each matrix."""
    order = a.shape[-1]
    routines = _routines(a.dtype.char) if order >= LARGE else None
    if routines is None:
        return np.linalg.inv(a)
    # LAPACK reads rows as columns, and so inverts the transpose in place: rows are written as columns too.
    out = np.array(a, order="C")
    pivots, work = np.empty(order, np.intc), np.empty(order * _BLOCK, a.dtype)
    n, length, info = ctypes.c_int(order), ctypes.c_int(work.size), ctypes.c_int()
    rows, status = ctypes.addressof(n), ctypes.addressof(info)
    for matrix in out.reshape(-1, order, order):
        address = matrix.ctypes.data
        routines.getrf(rows, rows, address, rows, pivots.ctypes.data, status)
        if not info.value:
            routines.getri(rows, address, rows, pivots.ctypes.data, work.ctypes.data, ctypes.addressof(length), status)
        if info.value:
            raise np.linalg.LinAlgError("Singular matrix")
    return out
