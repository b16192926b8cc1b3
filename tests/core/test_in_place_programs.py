"""Random views and changes in place: every array in use is NumPy's, or the change is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import gradloom as gl
from gradloom.errors import AliasError, ArgumentError

VIEWS = (
    "a[1:]", "a[::-1]", "a[-1]", "a[:, :1]", "a[None]", "a[..., 0]", "a[[0, 0]]", "a.T", "a.reshape(-1)", "a.ravel()",
    "a.flatten()", "a.copy()", "a.flat[:2]", "np.flip(a)", "np.rot90(a)", "np.squeeze(a)", "np.expand_dims(a, 0)",
    "np.moveaxis(a, 0, -1)", "np.diagonal(a)", "np.atleast_2d(a)", "np.split(a, 1)[0]", "np.positive(a)", "np.real(a)",
    "np.sum(a)", "np.take(a, 0)", "np.broadcast_arrays(a, a)[0]", "a.swapaxes(0, -1)", "a.real",
)  # fmt: skip
CHANGES = (
    "a[0] = b", "a[...] = 2.0", "a[1:] += b", "a[:-1] -= b", "a[::-1] *= b", "a[..., 0] += 1.0", "a[[0, -1]] *= 3.0",
    "a += b", "a *= b", "a -= 1.0", "a.T[0] = 5.0", "a[1:][0] = 7.0", "a.fill(3.0)", "a.sort()", "np.add.at(a, 0, b)",
)  # fmt: skip
LINES = st.lists(
    st.tuples(st.sampled_from(VIEWS + CHANGES), st.integers(0, 9), st.integers(0, 9)), min_size=3, max_size=8
)


def run(lines: list[tuple[str, int, int]], x: Any) -> list[Any]:
    """Return all arrays in use after a program; a line that fails in NumPy's way leaves it as it is."""
    known = [x]
    for line, i, j in lines:
        names = {"np": np, "a": known[i % len(known)], "b": known[j % len(known)]}
        if line in VIEWS:
            known.append(eval(line, names))
        else:
            exec(line, names)
    return known


@settings(max_examples=150, derandomize=True, deadline=None)
@given(lines=LINES, shape=st.sampled_from([(3,), (3, 3), (2, 3)]))
def test_arrays_in_use_are_numpys(lines: list[tuple[str, int, int]], shape: tuple[int, ...]) -> None:
    x = np.arange(1.0, 1.0 + np.prod(shape)).reshape(shape) % 5
    expected: list[Any] = []
    while not expected:  # leave out lines that NumPy refuses
        try:
            expected = run(lines, x.copy())
        except (ValueError, IndexError, TypeError, AttributeError):
            lines = lines[:-1]
    try:
        got = gl.jit(lambda t: run(lines, t))(x)
    except (AliasError, ArgumentError):
        return
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
