"""Pairs: loops over two vectors at a time, which better code has where functions would wait, have the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.op import ops
from gradloom.testing.sample import rng
from gradloom_llvm import engine, tiers, vectormath
from gradloom_llvm import kernel as kernel_module
from gradloom_llvm.codegen import generate, generate_pairs
from gradloom_llvm.kernel import Kernel
from gradloom_llvm.loops import Loops

SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e-310, 1.0]


def elementwise(x: Any, y: Any) -> Any:
    """Return functions of both, and a choice."""
    return np.tanh(x) * np.exp(-y), np.where(np.log1p(y * y) > 0.5, x, np.sin(y))


def sums(x: Any, y: Any) -> Any:
    """Return what reduces, to one number and along either axis."""
    e = np.exp(x) - y
    reductions = [np.sum, np.max, np.min, np.prod]
    return *(f(e) for f in reductions), np.sum(e, axis=0), np.max(e, axis=1), np.any(e > 1.0), np.all(np.exp(y) > 0.0)


def annihilating(x: Any, y: Any) -> Any:
    """Return products that are zero where a factor is, and a product whose zeros of one factor annihilate."""
    times = ops["annihilating_multiply"]
    return times(x, np.exp(y)), np.sum(times(np.log(y), x)), ops["annihilating_matmul"](np.exp(x), y.T, zeros=1)


def mixed(x: Any, y: Any) -> Any:
    """Return numbers of several widths: as many lanes as the widest leaves."""
    return np.exp(x.astype(np.float32)), np.sum(np.exp(y) > 1.0), np.where(np.sinh(x) > y, 1, 2)


def bits(result: Any) -> bytes:
    """Return the bits of an array; LLVM leaves open which NaN an operation gives."""
    array = np.asarray(result)
    return (np.where(np.isnan(array), np.nan, array) if array.dtype.kind == "f" else array).tobytes()


@pytest.mark.parametrize("vector_bytes", [16, 32])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("f", [elementwise, sums, annihilating, mixed])
def test_pairs_give_the_same_bits(
    f: Callable[..., Any], dtype: Any, vector_bytes: int, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_module, "host_vector_bytes", lambda: vector_bytes)
    written = []
    for count in (1, 3, 8, 17, 64, 133):
        x, y = (rng(k).normal(size=(4, count)).astype(dtype) for k in range(2))
        x[1, : len(SPECIAL)], y[2, : len(SPECIAL)] = SPECIAL[:count], SPECIAL[:count]
        for args in ([x, y], [np.asfortranarray(x), y[::-1]]):
            graph = gl.make_graph(f)(*args)
            found = []
            for seconds in (1e9, 0.0):  # never compiled well, and at once
                monkeypatch.setattr(tiers, "SECONDS_A_LINE", seconds)
                tiers._codes.clear()
                with np.errstate(all="ignore"):
                    found.append([*map(bits, Kernel(graph).function()(*args))])
            assert found[0] == found[1]
            written.append(generate_pairs(Loops(graph), vector_bytes))
    assert all(".pairs" in text for text in written)


def test_pairs_look_for_nan_once() -> None:
    """Where zeros annihilate, the loop over pairs ends at the first product that is NaN; others have no such end."""
    x, y = (rng(k).normal(size=(4, 40)) for k in range(2))
    assert "pairs.doubt" in generate_pairs(Loops(gl.make_graph(annihilating)(x, y)), 32)
    assert "pairs.doubt" not in generate_pairs(Loops(gl.make_graph(sums)(x, y)), 32)
    assert "doubt" not in generate(Loops(gl.make_graph(annihilating)(x, y)), 32).text


def test_pairs_read_the_numbers_where_they_stand(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They write a result after what the loop over single vectors reads later, whose steps are numbers too."""

    def f(x: Any, y: Any, z: Any) -> Any:
        product = ops["annihilating_multiply"](np.exp(x), x)
        return product.T * 0.5, product + y.T, z * product

    monkeypatch.setattr(kernel_module, "host_vector_bytes", lambda: 32)
    args = x, y, z = [rng(k).normal(size=shape) for k, shape in enumerate([(5, 43), (43, 5), (5, 43)])]
    graph = gl.make_graph(f)(*args)
    found = []
    for seconds in (1e9, 0.0):  # never compiled well, and at once
        monkeypatch.setattr(tiers, "SECONDS_A_LINE", seconds)
        tiers._codes.clear()
        found.append(Kernel(graph).function()(*args))
    assert [*map(bits, found[0])] == [*map(bits, found[1])]
    product = np.exp(x) * x
    for value, expected in zip(found[1], (product.T * 0.5, product + y.T, z * product), strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize(("dtype", "lanes"), [("float64", 4), ("float32", 8)])
def test_numbers_of_pairs_are_read_whole(dtype: str, lanes: int) -> None:
    """Of two registers of 32 bytes each: half the reads, or more, are operands of a multiplication."""
    single, _ = vectormath.build([("erf", dtype, lanes)], avx2=True)
    assert "volatile" not in single
    pair, declares = vectormath.build([("erf", dtype, 2 * lanes)], avx2=True)
    kind = vectormath.vector({"float64": "double", "float32": "float"}[dtype], 2 * lanes)
    name = vectormath.function_name("erf", dtype, 2 * lanes)
    kernel = f"""
define void @kernel(ptr %p) nounwind {{
  %x = load {kind}, ptr %p, align 4
  %y = call {kind} @"{name}"({kind} %x)
  store {kind} %y, ptr %p, align 4
  ret void
}}"""
    haswell = engine.Host("x86_64-unknown-linux-gnu", "haswell", vector_bytes=32)
    text = engine.assembly("\n".join([*declares, pair, kernel]), haswell)
    assert text.count("vbroadcasts") < 5
    assert sum("vfm" in line and "(%r" in line for line in text.splitlines()) >= pair.count("volatile")


def test_loops_that_do_not_wait_are_written_once() -> None:
    """Of sums and products alone, and where masks cost nothing."""
    x = np.ones(100)
    assert not generate(Loops(gl.make_graph(lambda x: (x * x - 1.0, np.sum(x)))(x)), 32).waits
    waiting = Loops(gl.make_graph(np.exp)(x))
    assert generate(waiting, 32).waits
    assert not generate(waiting, 64).waits


def test_kernels_run_pairs_when_they_are_compiled_well(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The IR that is compiled well is that of pairs; from disk it need not be written again."""
    asked: list[str] = []

    def noted(loops: Loops, vector_bytes: int) -> str:
        asked.append(generate_pairs(loops, vector_bytes))
        return asked[-1]

    monkeypatch.setattr(kernel_module, "host_vector_bytes", lambda: 32)
    monkeypatch.setattr(kernel_module, "generate_pairs", noted)
    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 0.0)
    x = rng(1).normal(size=1000)
    graph = gl.make_graph(lambda x: np.exp(np.cos(x)) - 0.123)(x)
    np.testing.assert_allclose(Kernel(graph).function()(x), np.exp(np.cos(x)) - 0.123, rtol=1e-14)
    assert len(asked) == 1
    assert ".pairs" in asked[0]
    tiers._codes.clear()
    Kernel(graph).function()(x)
    assert len(asked) == 1
