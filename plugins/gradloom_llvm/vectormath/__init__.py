"""Mathematical functions on vectors, as LLVM IR that inlines into loops.

`build` returns the functions asked for, such as `gl.exp.f64x8` from and to `<8 x double>`. They are
straight-line code without tables: selects instead of branches, polynomials instead of look-ups (sin
and cos of huge numbers, in a branch almost never taken, excepted). Special values are NumPy's, no
fast-math flag is set, and each result depends on its own lane only. Fused multiply-add is written
where accuracy needs it; a processor without it calls libm for it, which is slow but no less exact.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from importlib import import_module
from typing import Any, Final

import numpy as np

from gradloom_llvm.vectormath._text import Body, Function, function_name, vector, vector_type

__all__ = ["bound", "build", "function_name", "names", "vector"]

Request = tuple[str, str, int]

#: The functions of each family, a module that is imported when one of them is asked for.
_FAMILIES: Final = {
    "exponential": "exp exp2 expm1 expit tanh sinh cosh",
    "logarithmic": "log log2 log10 log1p logaddexp logaddexp2 log_expit xlogy xlog1py entr",
    "inverse_hyperbolic": "arcsinh arccosh arctanh",
    "trigonometric": "sin cos tan",
    "inverse_trigonometric": "arcsin arccos arctan arctan2",
    "powers": "power cbrt hypot",
    "error_function": "erf erfc ndtr",
}
#: What functions call that no op stands for.
_HELPERS: Final = {"powers": "float32_power", "trigonometric": "huge_sin huge_cos huge_tan"}
_FAMILY_OF: Final = {
    name: family for table in (_FAMILIES, _HELPERS) for family, own in table.items() for name in own.split()
}
_NAMES: Final = frozenset(" ".join(_FAMILIES.values()).split())


def _family(op: str) -> Any:
    """Return the module that holds a function."""
    return import_module(f"gradloom_llvm.vectormath.{_FAMILY_OF[op]}")


def names() -> frozenset[str]:
    """Return the names of the ops there are vector functions for."""
    return _NAMES


def bound(op: str, dtype: str) -> float:
    """Return the largest error in units in the last place of the result."""
    return 2.0 if dtype == "float64" else 4.0


def build(requests: Iterable[Request], avx512: bool = False, avx2: bool = False) -> tuple[str, frozenset[str]]:
    """Return definitions of the requested functions and of all they call, and the declarations these need.

    Parameters
    ----------
    requests : iterable of (op, dtype, lanes)
        Ops from `names`; dtypes "float64" and "float32"; lanes a power of two.
    avx512 : bool
        The code is for x86 processors with AVX-512: exponentials then take six instructions less, with the same result.
    avx2 : bool
        The code is for registers of 32 bytes: on vectors of several, the chains of instructions stay side by side.

    Returns
    -------
    definitions : str
        LLVM IR; the order depends on the set of requests only.
    declarations : frozenset of str
        One `declare` line for each intrinsic and each function of libm; none is in the definitions.
    """
    waiting, found = sorted(set(requests)), dict[Request, str]()
    declarations: set[str] = set()
    while waiting:
        request = waiting.pop()
        if request not in found:
            found[request], declares, calls = _definition(*request, avx512, avx2)
            declarations |= declares
            waiting += calls
    return "\n".join([found[request] for request in sorted(found)]), frozenset(declarations)


@lru_cache(maxsize=1024)
def _definition(
    op: str, dtype: str, lanes: int, avx512: bool, avx2: bool
) -> tuple[str, frozenset[str], tuple[Request, ...]]:
    """Return the text of one function, its declarations and the functions that it calls."""
    family = _family(op)
    rare: dict[str, Function] = getattr(family, "RARE", {})
    function: Function = {**family.FUNCTIONS, **getattr(family, "HELPERS", {}), **rare}[op]
    #: For some functions of float32, the function of float64 that computes them.
    wide_function: dict[str, str] = getattr(family, "WIDE", {})
    several = avx2 and lanes * np.dtype(dtype).itemsize > 32
    table = f'@"{function_name(op, dtype, lanes)}.numbers"' if several else None
    body, type = Body(dtype, lanes, avx512, table), vector_type(dtype, lanes)
    code = function.__code__
    parameters = [body.parameter(f"%{name}") for name in code.co_varnames[: code.co_argcount]]
    if dtype == "float32" and op in wide_function:
        wide = body.call(wide_function[op], *[x.astype("float64") for x in parameters], dtype="float64")
        result = wide.astype("float32")
    else:
        result = function(*parameters)
    head = ", ".join([f"{type} {x.name}" for x in parameters])
    attributes = "noinline cold nounwind" if op in rare else "alwaysinline nounwind"
    lines = [
        *([body.table_definition()] if body.numbers else []),
        f'define internal {type} @"{function_name(op, dtype, lanes)}"({head}) {attributes} {{',
        "entry:",
        *body.lines,
        f"  ret {type} {result.name}",
        "}",
        "",
    ]
    return "\n".join(lines), frozenset(body.declares), tuple(sorted(body.calls))
