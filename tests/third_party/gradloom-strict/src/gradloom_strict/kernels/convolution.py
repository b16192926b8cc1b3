"""Convolution: the standard has none, so shifted rows are added up."""

from __future__ import annotations

from typing import Any

import array_api_strict as xp

from gradloom_strict.arrays import device


def convolve(a: Any, v: Any, *, full: bool) -> Any:
    m, n = a.shape[-1], v.shape[-1]
    rows = xp.broadcast_shapes(a.shape[:-1], v.shape[:-1])
    a, v = xp.broadcast_to(a, (*rows, m)), xp.broadcast_to(v, (*rows, n))
    if full:
        ends = xp.zeros((*rows, n - 1), dtype=a.dtype, device=device())
        a = xp.concat([ends, a, ends], axis=-1)
    length = a.shape[-1] - n + 1
    total = xp.zeros((*rows, length), dtype=a.dtype, device=device())
    for j in range(n):
        total = total + a[..., n - 1 - j : n - 1 - j + length] * v[..., j : j + 1]
    return total


KERNELS: dict[str, Any] = {"convolve": convolve}
