"""The vector functions: error in units in the last place against wider arithmetic, special values as NumPy's."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.special
from vectormath_oracles import ORACLES, Oracle, draw, wide

from gradloom_llvm import engine, vectormath
from gradloom_llvm.vectormath import _definition, coefficients

DTYPES = ["float64", "float32"]
OPS = sorted(vectormath.names())
POINTS = 1_000_000
MPMATH_POINTS = 500

SPECIAL = [
    0.0, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 8.0, 10.0, 40.0, 88.8, 104.0, 709.9, 746.0, 1e4, 1e10, 1e22, 1e30, 1e38,
    1e300, 1.7976931348623157e308, np.inf, np.nan, 1e-5, 1e-10, 1e-30, 1e-40, 2e-45, 2.3e-308, 1e-310, 5e-324,
]  # fmt: skip


def test_each_function_is_in_the_family_it_is_said_to_be_in() -> None:
    for table, attribute in ((vectormath._FAMILIES, "FUNCTIONS"), (vectormath._HELPERS, ("HELPERS", "RARE"))):
        for family, own in table.items():
            module = vectormath._family(own.split()[0])
            assert module.__name__ == f"gradloom_llvm.vectormath.{family}"
            parts = (attribute,) if isinstance(attribute, str) else attribute
            assert {name for part in parts for name in getattr(module, part, ())} == set(own.split())
    assert vectormath._NAMES.isdisjoint(" ".join(vectormath._HELPERS.values()).split())


def native(dtype: str) -> int:
    return engine.host_vector_bytes() // np.dtype(dtype).itemsize


def loop(op: str, dtype: str, lanes: int, avx512: bool = False) -> str:
    """Return IR of a function that applies a vector function to whole arrays."""
    element = {"float64": "double", "float32": "float"}[dtype]
    vector, arity = f"<{lanes} x {element}>", ORACLES[op].arity
    definitions, declarations = vectormath.build([(op, dtype, lanes)], avx512)
    lines = [*sorted(declarations), definitions]
    lines.append(f"define void @loop(i64 %n, ptr %out{''.join(f', ptr %p{i}' for i in range(arity))}) nounwind {{")
    lines += ["entry:", "  br label %body", "body:", "  %i = phi i64 [ 0, %entry ], [ %j, %end ]"]
    for i in range(arity):
        lines.append(f"  %q{i} = getelementptr {element}, ptr %p{i}, i64 %i")
        lines.append(f"  %x{i} = load {vector}, ptr %q{i}, align 4")
    arguments = ", ".join(f"{vector} %x{i}" for i in range(arity))
    lines.append(f'  %y = call {vector} @"{vectormath.function_name(op, dtype, lanes)}"({arguments})')
    lines += [f"  %o = getelementptr {element}, ptr %out, i64 %i", f"  store {vector} %y, ptr %o, align 4"]
    lines += [f"  %j = add i64 %i, {lanes}", "  %more = icmp ult i64 %j, %n", "  br label %end", "end:"]
    return "\n".join([*lines, "  br i1 %more, label %body, label %done", "done:", "  ret void", "}"])


def run(op: str, dtype: str, lanes: int, *arrays: Any, avx512: bool = False) -> Any:
    """Return the vector function of arrays, padded with ones to whole vectors."""
    size = len(arrays[0])
    padded = [np.concatenate([x, np.ones(-size % lanes, dtype)]) for x in arrays]
    out = np.empty_like(padded[0])
    library = engine.load(loop(op, dtype, lanes, avx512))
    function = ctypes.CFUNCTYPE(None, ctypes.c_int64, *[ctypes.c_void_p] * (len(arrays) + 1))(library.address("loop"))
    function(len(out), out.ctypes.data, *[x.ctypes.data for x in padded])
    return out[:size]


def special(dtype: str, arity: int) -> list[Any]:
    """Return special numbers of both signs, all pairs of them for two arguments."""
    with np.errstate(all="ignore"):
        numbers = np.array([*SPECIAL, *[-x for x in SPECIAL]]).astype(dtype)
    return [numbers] if arity == 1 else [x.ravel() for x in np.meshgrid(numbers, numbers)]


def points(oracle: Oracle, dtype: str, count: int, seed: int = 0) -> list[Any]:
    """Return random points: each way that the oracle names of drawing them in equal parts, then the special ones."""
    random = np.random.default_rng(seed)
    part = -(-count // len(oracle.ranges))
    columns = zip(*[[draw(random, dtype, way, part) for way in ways] for ways in oracle.ranges], strict=True)
    extra = special(dtype, oracle.arity)
    return [np.concatenate([*column, more]).astype(dtype) for column, more in zip(columns, extra, strict=True)]


def ulps(oracle: Oracle, got: Any, want: Any, arguments: list[Any]) -> Any:
    """Return the error of each result in units in the last place; infinite where the class of number is wrong."""
    dtype = got.dtype
    with np.errstate(all="ignore"):
        near = want.astype(dtype)
        unit = np.spacing(oracle.size(near, *arguments)).astype(want.dtype)
        error = np.abs(got.astype(want.dtype) - want) / unit
        same = (got == near) | (np.isnan(got) & np.isnan(near))
    return np.where(same & ~np.isfinite(near), 0.0, np.where(np.isfinite(got) & np.isfinite(near), error, np.inf))


def worst(op: str, dtype: str, lanes: int, count: int = POINTS) -> tuple[float, str]:
    """Return the largest error and where it is."""
    oracle = ORACLES[op]
    arguments = points(oracle, dtype, count)
    got = run(op, dtype, lanes, *arguments)
    with np.errstate(all="ignore"):
        want = oracle.function(*[x.astype(wide(dtype)) for x in arguments])
    error = ulps(oracle, got, want, arguments)
    at = int(np.argmax(error))
    return float(error[at]), f"{op}{tuple(float(x[at]) for x in arguments)} = {want[at]}, got {got[at]!r}"


def test_each_function_has_an_oracle() -> None:
    assert set(OPS) == set(ORACLES)


@pytest.mark.parametrize(
    ("op", "dtype"),
    [
        pytest.param(op, dtype, marks=[pytest.mark.slow] * (dtype == "float64" and op in {"erf", "erfc", "ndtr"}))
        for op in OPS
        for dtype in DTYPES
    ],
)
def test_error_is_within_the_bound(op: str, dtype: str) -> None:
    error, where = worst(op, dtype, native(dtype))
    assert error <= vectormath.bound(op, dtype), where


@pytest.mark.parametrize("op", OPS)
def test_error_is_within_the_bound_of_mpmath(op: str) -> None:
    oracle = ORACLES[op]
    arguments = [x[:MPMATH_POINTS] for x in points(oracle, "float64", MPMATH_POINTS, seed=1)]
    got = run(op, "float64", native("float64"), *arguments)
    usual = np.isfinite(got)  # the others are the business of the tests above and below
    arguments, got = [x[usual] for x in arguments], got[usual]
    with mpmath.workdps(60):
        exact = [oracle.exact(*map(mpmath.mpf, map(float, numbers))) for numbers in zip(*arguments, strict=True)]
        units = np.spacing(oracle.size(np.array([float(x) for x in exact]), *arguments))
        both = zip(got, exact, units, strict=True)
        error = [float(abs(mpmath.mpf(float(y)) - x) / mpmath.mpf(float(unit))) for y, x, unit in both]
    at = int(np.argmax(error))
    assert error[at] <= vectormath.bound(op, "float64"), (op, [x[at] for x in arguments], got[at], exact[at])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_special_values_are_those_of_numpy(op: str, dtype: str) -> None:
    arguments = special(dtype, ORACLES[op].arity)
    function: Callable[..., Any] = getattr(np, op, None) or getattr(scipy.special, op)
    if op == "expit":  # SciPy's is zero where exp(-x) overflows, though the result does not vanish there
        function = lambda x: ORACLES[op].function(x.astype(wide(dtype))).astype(dtype)  # noqa: E731
    with np.errstate(all="ignore"):
        want = function(*arguments)
    got = run(op, dtype, native(dtype), *arguments)
    assert want.dtype == got.dtype
    for kind in (np.isnan, np.isposinf, np.isneginf, lambda x: x == 0):
        wrong = np.flatnonzero(kind(got) != kind(want))
        assert not wrong.size, [(*[float(x[i]) for x in arguments], got[i], want[i]) for i in wrong[:9]]
    signed = ~np.isnan(want)
    wrong = np.flatnonzero(signed & (np.signbit(got) != np.signbit(want)))
    assert not wrong.size, [(*[float(x[i]) for x in arguments], got[i], want[i]) for i in wrong[:9]]


@pytest.mark.parametrize("lanes", [1, 32])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", OPS)
def test_lanes_do_not_change_results(op: str, dtype: str, lanes: int) -> None:
    arguments = [x[:999] for x in points(ORACLES[op], dtype, 500)]
    want = run(op, dtype, native(dtype), *arguments)
    np.testing.assert_array_equal(run(op, dtype, lanes, *arguments), want)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ["exp", "exp2", "expit", "logaddexp", "ndtr", "erfc"])
def test_avx512_does_not_change_results(op: str, dtype: str) -> None:
    lanes = 64 // np.dtype(dtype).itemsize
    skylake = engine.Host("x86_64-unknown-linux-gnu", "skylake-avx512", vector_bytes=64)
    assert "vscalef" in engine.assembly(loop(op, dtype, lanes, avx512=True), skylake)
    if engine.host_vector_bytes() == 64:
        arguments = points(ORACLES[op], dtype, 10_000)
        want = run(op, dtype, lanes, *arguments)
        np.testing.assert_array_equal(run(op, dtype, lanes, *arguments, avx512=True), want)


@pytest.mark.parametrize("op", ["sin", "cos", "tan"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_huge_lane_leaves_the_others_alone(op: str, dtype: str) -> None:
    lanes = native(dtype)
    x = np.linspace(-30, 30, 64 * lanes).astype(dtype)
    beside = x.copy()
    beside[:: 2 * lanes] = 1e30
    got = run(op, dtype, lanes, beside)
    others = beside == x
    np.testing.assert_array_equal(got[others], run(op, dtype, lanes, x)[others])
    np.testing.assert_allclose(got[~others], getattr(np, op)(np.asarray(beside[~others], "float64")), rtol=1e-6)


@pytest.mark.parametrize("lanes", [1, 2, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_function_compiles_for_another_processor(dtype: str, lanes: int) -> None:
    definitions, declarations = vectormath.build([(op, dtype, lanes) for op in OPS])
    public = definitions.replace("define internal", "define").replace("alwaysinline ", "")
    text = engine.assembly("\n".join([*sorted(declarations), public]), engine.Host("aarch64-linux-gnu", "generic"))
    for op in OPS:
        assert f"\n{vectormath.function_name(op, dtype, lanes)}:" in text


def test_the_text_depends_on_the_set_of_requests_only() -> None:
    requests = [("sin", "float32", 8), ("exp", "float64", 8), ("exp", "float64", 4)]
    definitions, declarations = vectormath.build(requests)
    assert vectormath.build([*reversed(requests), requests[0]]) == (definitions, declarations)
    names = [line.split("(")[0] for line in definitions.splitlines() if line.startswith("define")]
    assert len(names) == len(set(names))
    assert "declare" not in definitions


@cache
def tables() -> list[str]:
    return [name for name, value in vars(coefficients).items() if name.isupper() and isinstance(value, dict)]


#: An op that uses each table of coefficients.
USER = {
    "EXP": "exp", "LOG": "log", "ERF": "erf", "SIN": "sin", "COS": "cos", "ARCTAN": "arctan", "ARCSIN": "arcsin",
    "ERFC": "erfc", "ERFC_HEAD_REST": "erfc", "SINH": "sinh", "COSH": "cosh", "ARCTANH": "power", "CBRT": "cbrt",
}  # fmt: skip


@pytest.mark.slow
def test_the_coefficients_are_those_that_the_tool_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run tools/minimax.py to renew them."""
    monkeypatch.setattr(sys, "path", [str(Path(__file__).parents[3] / "tools"), *sys.path])
    monkeypatch.setattr(mpmath.mp, "dps", mpmath.mp.dps)  # put back: the tool raises it
    import minimax

    assert minimax.page() == minimax.PAGE.read_text()


def test_each_table_has_a_user() -> None:
    assert set(tables()) == set(USER)


@pytest.mark.parametrize("table", sorted(set(USER) - {"CBRT", "ERFC_HEAD_REST"}))
def test_a_changed_coefficient_is_noticed(table: str, monkeypatch: pytest.MonkeyPatch) -> None:
    op, values = USER[table], list(getattr(coefficients, table)["float64"])
    values[len(values) // 2] *= 1 + 1e-6
    monkeypatch.setitem(getattr(coefficients, table), "float64", tuple(values))
    _definition.cache_clear()
    try:
        error, _ = worst(op, "float64", native("float64"), 20_000)
    finally:
        _definition.cache_clear()
    assert error > vectormath.bound(op, "float64")
