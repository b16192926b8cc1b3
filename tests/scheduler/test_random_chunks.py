"""Random programs over chunked rows: value and gradients are those of the whole arrays, however the rows are cut."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl

ROWS, COLUMNS = 11, 3

#: Of anything, within elements or along all axes but the first.
UNARY: list[Callable[[Any], Any]] = [
    lambda a: np.tanh(a),
    lambda a: np.sin(a) * a,
    lambda a: np.log1p(a**2),
    lambda a: abs(a),
    lambda a: np.where(a > 0.3, a, -2.0 * a),
    lambda a: np.clip(a, -1.0, 1.0),
    lambda a: np.cumsum(a, axis=1) if a.ndim == 2 else a,
    lambda a: a[:, ::-1] if a.ndim == 2 else a,
    lambda a: np.roll(a, 1, axis=-1) if a.ndim == 2 else a,
    lambda a: a[:, [0, -1, 0]] if a.ndim == 2 else a,
    lambda a: a[:, 0] if a.ndim == 2 else a[..., None],
    lambda a: np.mean(a, axis=1) if a.ndim == 2 else a,
    lambda a: np.max(a, axis=1, keepdims=True) if a.ndim == 2 else a,
    lambda a: np.argmax(a, axis=1) * 0.5 if a.ndim == 2 else a,
    lambda a: a - np.mean(a, axis=-1, keepdims=True) if a.ndim == 2 else a,
    lambda a: np.concatenate([a, 0.5 * a], axis=1) if a.ndim == 2 and a.shape[1] < 4 else a,
    lambda a: np.stack([a, np.sin(a)], axis=1) if a.ndim == 1 else a,
    lambda a: gl.special.logsumexp(a, axis=1) if a.ndim == 2 else a,
    lambda a: gl.special.softmax(a, axis=1) if a.ndim == 2 else a,
]
#: Along the axis that is cut: each needs what all blocks give, before any of them can go on.
ACROSS: list[Callable[[Any], Any]] = [
    lambda a: np.sum(a, axis=0),
    lambda a: np.mean(a, axis=0, keepdims=True),
    lambda a: np.max(a, axis=0),
    lambda a: np.min(a) + np.sum(a),
    lambda a: np.std(a, axis=0),
    lambda a: np.linalg.norm(a),
    lambda a: np.tanh(a.T @ a),
    lambda a: gl.special.logsumexp(a, axis=0),
    lambda a: np.any(a > 0.5, axis=0) * 1.0,
    lambda a: a - np.mean(a, axis=0),
]
BINARY: list[Callable[[Any, Any], Any]] = [
    lambda a, b: a + b,
    lambda a, b: a * b,
    lambda a, b: np.maximum(a, b),
    lambda a, b: np.logaddexp(a, b),
    lambda a, b: np.hypot(a, 1.0 + b**2),
    lambda a, b: a / (2.0 + np.sin(b)),
]
Instruction = tuple[str, int, int, int]
INSTRUCTIONS = st.lists(
    st.tuples(
        st.sampled_from(["unary", "unary", "binary", "across", "product"]),
        st.integers(0, 30),
        st.integers(0, 9),
        st.integers(0, 9),
    ),
    min_size=1,
    max_size=9,
)
CUTS = st.sets(st.integers(1, ROWS - 1), max_size=5)


def run(program: list[Instruction], w: Any, x: Any, y: Any) -> Any:
    """Interpret a program on weights, rows and a number for each row: instructions append to the values so far."""
    values = [w, x, y]
    for kind, code, i, k in program:
        a, b = values[-1 - i % len(values)], values[-1 - k % len(values)]
        if kind == "product":
            out = np.tanh(a @ w) if a.ndim == 2 and a.shape[1] == COLUMNS else a
        elif kind == "binary":
            out = BINARY[code % len(BINARY)](a, fitting(b, a))
        elif kind == "across" and a.shape[:1] == (ROWS,):
            out = ACROSS[code % len(ACROSS)](a)
        else:
            out = UNARY[code % len(UNARY)](a)
        values.append(out)
    return sum([np.sum(np.tanh(v)) * (0.1 + 0.05 * n) for n, v in enumerate(values[1:])])


def fitting(b: Any, a: Any) -> Any:
    """Return what broadcasts with another operand: a column for each row, or one number."""
    if b.ndim == 1 and a.ndim == 2 and b.shape[0] == a.shape[0] != a.shape[1]:
        return b[:, None]
    try:
        np.broadcast_shapes(a.shape, b.shape)
    except ValueError:
        return np.sum(b)
    return b


def sizes(cuts: set[int]) -> tuple[int, ...]:
    """Return the rows of the chunks between some places."""
    return tuple(np.diff([0, *sorted(cuts), ROWS]).tolist())


@settings(max_examples=100)
@given(INSTRUCTIONS, CUTS, st.booleans())
def test_chunks_give_what_the_whole_gives(program: list[Instruction], cuts: set[int], jitted: bool) -> None:
    rng = np.random.default_rng(5)
    w, x, y = rng.normal(size=(COLUMNS, COLUMNS)), rng.normal(size=(ROWS, COLUMNS)), rng.normal(size=ROWS)

    def f(w: Any, x: Any, y: Any) -> Any:
        return run(program, w, x, y)

    both = gl.value_and_grad(f, (0, 1, 2))
    value, gradients = both(w, x, y)
    np.testing.assert_allclose(value, f(w, x, y), rtol=1e-12)
    chunks = sizes(cuts)
    lazy = (gl.jit(both) if jitted else both)(
        w, da.from_array(x, chunks=(chunks, -1)), da.from_array(y, chunks=(chunks,))
    )
    found, founds = dask.compute(*lazy, scheduler="sync")
    np.testing.assert_allclose(found, value, rtol=1e-11)
    for a, b in zip(founds, gradients, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-10)
