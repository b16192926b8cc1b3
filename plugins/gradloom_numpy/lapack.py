"""Linear algebra by the BLAS and LAPACK that SciPy carries, where there is one.

NumPy inverts by solving for the columns of the identity, and has no solver for triangular matrices: these take half of
its time, and less. Eigenvectors take a seventh less. The routines are called through the addresses that SciPy publishes
for Cython, without the interpreter's lock.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np

from gradloom.blas import limit_new_libraries
from gradloom.memory import empty, ordered_copy

#: From this order on a matrix is worth the import of SciPy's linear algebra, 0.1 s once a process.
LARGE = 100

#: Columns that ``getri`` works on together, if the workspace allows it.
_BLOCK = 64

_TYPES = {"f": "s", "d": "d", "F": "c", "D": "z"}


def inv(a: Any) -> Any:
    """Return the inverse of each matrix."""
    return _inverse(a) if _is_large(a) else np.linalg.inv(a)


def inv_slogdet(a: Any) -> tuple[Any, Any, Any]:
    """Return the inverse of each matrix, and sign and logarithm of its absolute determinant."""
    if not _is_large(a):
        return (np.linalg.inv(a), *np.linalg.slogdet(a))
    order = a.shape[-1]
    diagonals, odd = np.empty(a.shape[:-1], a.dtype), np.empty(a.shape[:-2], bool)
    out = _inverse(a, diagonals.reshape(-1, order), odd.reshape(-1))
    size = np.abs(diagonals)
    with np.errstate(all="ignore"):
        sign = np.prod(diagonals / size, axis=-1) * np.where(odd, a.dtype.type(-1), a.dtype.type(1))
        return out, sign, np.sum(np.log(size), axis=-1)


def _is_large(a: Any) -> bool:
    return a.shape[-1] >= LARGE and _routine("lapack", "getrf", a.dtype.char, 6) is not None


def _inverse(a: Any, diagonals: Any = None, odd: Any = None) -> Any:
    """Return the inverse of each matrix.

    Write the diagonal of each triangular factor, and whether its rows changed places an odd number of times.
    """
    getrf: Any = _routine("lapack", "getrf", a.dtype.char, 6)
    getri: Any = _routine("lapack", "getri", a.dtype.char, 7)
    # LAPACK reads rows as columns, and so inverts the transpose in place: rows are written as columns too.
    order = a.shape[-1]
    out = ordered_copy(a)
    pivots, work = np.empty(order, np.intc), np.empty(order * _BLOCK, a.dtype)
    n, length, info = ctypes.c_int(order), ctypes.c_int(work.size), ctypes.c_int()
    for k, matrix in enumerate(out.reshape(-1, order, order)):
        memory = matrix.ctypes
        getrf(_at(n), _at(n), memory, _at(n), pivots.ctypes, _at(info))
        if diagonals is not None:
            diagonals[k] = matrix.diagonal()
            odd[k] = np.count_nonzero(pivots != np.arange(1, order + 1)) % 2
        if not info.value:
            getri(_at(n), memory, _at(n), pivots.ctypes, work.ctypes, _at(length), _at(info))
        if info.value:
            raise np.linalg.LinAlgError("Singular matrix")
    return out


def eigh(a: Any, *, lower: bool) -> tuple[Any, Any]:
    """Return eigenvalues, ascending, and eigenvectors of Hermitian matrices; one triangle is read."""
    order, complex_ = a.shape[-1], a.dtype.kind == "c"
    name, arguments = ("heevd", 13) if complex_ else ("syevd", 11)
    driver = _routine("lapack", name, a.dtype.char, arguments) if order >= LARGE else None
    if driver is None:
        values, vectors = np.linalg.eigh(a, "L" if lower else "U")
        return values, vectors
    # Rows are read as columns: of the conjugate the other triangle is the one of the matrix itself.
    out = ordered_copy(a.conj() if complex_ else a)
    values = np.empty(a.shape[:-1], out.real.dtype)
    # More than LAPACK needs at least, so that it works on blocks of columns.
    spaces = [empty((2 * order * (order + 40),), a.dtype), np.empty(3 + 5 * order, np.intc)]
    if complex_:
        spaces.insert(1, empty((1 + 5 * order + 2 * order * order,), values.dtype))
    lengths = [ctypes.c_int(space.size) for space in spaces]
    workspace = [x for space, length in zip(spaces, lengths, strict=True) for x in (space.ctypes, _at(length))]
    job, triangle = ctypes.c_char(b"V"), ctypes.c_char(b"U" if lower else b"L")
    n, info = ctypes.c_int(order), ctypes.c_int()
    for matrix, own in zip(out.reshape(-1, order, order), values.reshape(-1, order), strict=True):
        driver(_at(job), _at(triangle), _at(n), matrix.ctypes, _at(n), own.ctypes, *workspace, _at(info))
        if info.value:
            raise np.linalg.LinAlgError("Eigenvalues did not converge")
    return values, ordered_copy(out.swapaxes(-1, -2))


def solve_triangular(a: Any, b: Any, *, lower: bool) -> Any:
    """Solve ``a @ x = b``, reading one triangle of each matrix."""
    order = a.shape[-1]
    trsm = _routine("blas", "trsm", a.dtype.char, 11) if order >= LARGE else None
    if trsm is None:
        return np.linalg.solve(np.tril(a) if lower else np.triu(a), b)
    if np.any(np.einsum("...ii->...i", a) == 0):
        raise np.linalg.LinAlgError("Singular matrix")
    # Rows are read as columns: what is solved is  x^T a^T = b^T,  in place.
    by_rows = a.strides[-1] == a.itemsize or a.strides[-2] != a.itemsize
    a = a if by_rows else a.swapaxes(-1, -2)
    if a.strides[-1] != a.itemsize or a.strides[-2] < order * a.itemsize:
        a = np.ascontiguousarray(a)
    loops = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    out = ordered_copy(np.broadcast_to(b, loops + b.shape[-2:]))
    if not out.size:
        return out
    a = np.broadcast_to(a, loops + a.shape[-2:])
    side, triangle, transposed, unit = [
        ctypes.c_char(c) for c in (b"R", b"U" if lower == by_rows else b"L", b"N" if by_rows else b"T", b"N")
    ]
    n, k, lda = ctypes.c_int(order), ctypes.c_int(b.shape[-1]), ctypes.c_int(a.strides[-2] // a.itemsize)
    one = np.ones((), a.dtype).ctypes
    for index in np.ndindex(loops):
        options = [_at(c) for c in (side, triangle, transposed, unit)]
        trsm(*options, _at(k), _at(n), one, a[index].ctypes, _at(lda), out[index].ctypes, _at(k))
    return out


def _at(value: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(value))


@cache
def _routine(library: str, name: str, dtype: str, arguments: int) -> Callable[..., None] | None:
    """Return a routine for one of the dtypes ``fdFD``; as all of Fortran's, it takes addresses. None without SciPy."""
    try:
        capsules = import_module(f"scipy.linalg.cython_{library}").__pyx_capi__
    except ImportError:
        return None
    limit_new_libraries()
    capsule, python = capsules[_TYPES[dtype] + name], ctypes.pythonapi
    type_of = ctypes.PYFUNCTYPE(ctypes.c_char_p, ctypes.py_object)(("PyCapsule_GetName", python))
    address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(("PyCapsule_GetPointer", python))
    return ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * arguments)(address(capsule, type_of(capsule)))
