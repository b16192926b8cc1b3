"""Code for another processor: whatever is compiled here compiles for aarch64 too; products are in `test_products`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.testing.compilers import several_outputs
from gradloom_llvm import indexing, invoke_code, tape
from gradloom_llvm.codegen import generate
from gradloom_llvm.engine import Host, assembly
from gradloom_llvm.entry import prelude
from gradloom_llvm.loops import Loops

TARGET = Host("aarch64-linux-gnu", "generic")


def logistic(w: Any, X: Any, y: Any) -> Any:
    z = X @ w
    return np.mean(np.logaddexp(0.0, z) - y * z)


def regions(dtype: str) -> dict[str, tuple[Callable[..., Any], list[Any]]]:
    x, v = np.ones((300, 40), dtype), np.ones(40, dtype)
    return {
        "several outputs": (several_outputs, [x, v, np.ones((300, 1), dtype), np.ones((), dtype)]),
        "value and gradient": (gl.value_and_grad(logistic), [v, x, np.ones(300, dtype)]),
        "conditions": (lambda x: np.where((x > 0) & ~np.isnan(x), np.arctan2(x, 2.0), np.floor(x) ** 3), [x]),
        "across": (lambda x, y: np.tanh(x + y.T), [np.ones((70, 60), dtype), np.ones((60, 70), dtype)]),
    }


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", list(regions("float64")))
def test_regions(name: str, dtype: str) -> None:
    """As vectors of 16 bytes."""
    f, args = regions(dtype)[name]
    text = assembly(generate(Loops(gl.make_graph(f)(*args), None), TARGET.vector_bytes).text, TARGET)
    assert "\nkernel:" in text
    assert re.search(r"v\d+\.2d" if dtype == "float64" else r"v\d+\.4s", text)


def test_builtins_and_the_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(tape, "code", texts.append)
    tape._machine.__wrapped__(frozenset(range(len(tape.INSTRUCTIONS))))
    tape.function.__wrapped__("power")
    texts.append(prelude() + invoke_code.source())
    texts += [prelude() + indexing._source(name, np.dtype(np.float64)) for name in ("gather", "index_add")]
    symbols = ["kernel", "function", "invoke_together", "gather", "index_add"]
    for text, symbol in zip(texts, symbols, strict=True):
        assert f"\n{symbol}:" in assembly(text, TARGET)
