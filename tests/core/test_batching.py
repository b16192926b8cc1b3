"""Every op under `vmap` equals a loop over examples, whichever arguments are mapped."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import gradloom as gl
from gradloom.pytree import flatten
from gradloom.testing import checks
from gradloom.testing.sample import Sample
from gradloom.testing.samples import SAMPLES

SIZE = 3


def _axes(count: int) -> list[tuple[int | None, ...]]:
    """Return which arguments to map: each alone, and all together."""
    alone: list[tuple[int | None, ...]] = [tuple([0 if k == j else None for k in range(count)]) for j in range(count)]
    return alone if count == 1 else [*alone, (0,) * count]


CASES = [
    pytest.param(sample, axes, id=f"{sample}-{'_'.join('x' if a == 0 else '.' for a in axes)}")
    for sample in SAMPLES
    for axes in _axes(len(sample.args))
    if sample.args
]


def _examples(arg: Any) -> list[Any]:
    """Return variations of an argument that stay in its domain: the same elements, rolled."""
    arg = np.asarray(arg)
    if arg.dtype.kind in "iub":
        return [arg] * SIZE
    return [arg * arg.dtype.type(1 + 0.01 * k) for k in range(SIZE)]


@pytest.mark.parametrize(("sample", "axes"), CASES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_vmap_equals_a_loop(sample: Sample, axes: tuple[int | None, ...]) -> None:
    """A wrong axis shift or a wrong alignment of leading axes would show here."""
    columns = [_examples(a) if axis == 0 else [np.asarray(a)] * SIZE for a, axis in zip(sample.args, axes, strict=True)]
    batches = [np.stack(c) if axis == 0 else c[0] for c, axis in zip(columns, axes, strict=True)]
    got, _ = flatten(gl.vmap(checks.call(sample), axes)(*batches))
    rows = [checks.run(sample, row) for row in zip(*columns, strict=True)]
    for k, out in enumerate(got):
        expected = np.stack([np.asarray(row[k]) for row in rows])
        assert out.shape == expected.shape
        assert out.dtype == expected.dtype
        np.testing.assert_allclose(out, expected, rtol=1e-11, atol=1e-12, equal_nan=True)
