"""Calibration: how fast this machine computes, measured once and kept on disk."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from gradloom.blas import one_thread_each

#: Environment variable: the file to keep rates in; empty for the defaults, without measuring.
FILE = "GRADLOOM_CALIBRATION"


@final
class Rates(NamedTuple):
    """What one core of a machine does in a second.

    Attributes
    ----------
    call : float
        Seconds that calling a kernel takes.
    flops : float
        Simple floating-point operations a second, in elementwise kernels that stay in the cache.
    blas : float
        Floating-point operations a second in matrix products.
    bytes : float
        Bytes read and written a second.
    """

    call: float = 1e-6
    flops: float = 1e9
    blas: float = 2e10
    bytes: float = 8e9


@cache
def rates() -> Rates:
    """Return the rates of this machine: from the file, or measured now (40 ms) and kept there."""
    named = os.environ.get(FILE)
    if named == "":
        return Rates()
    path = Path(named) if named else default_file()
    key = f"{platform.node()} {platform.machine()} {os.cpu_count()} numpy-{np.__version__}"
    known = _read(path)
    try:
        return Rates(**known[key])
    except (KeyError, TypeError):
        found = measure()
        _write(path, {**known, key: found._asdict()})
        return found


def default_file() -> Path:
    """Return where rates are kept unless the environment says otherwise."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "gradloom" / "calibration.json"


def measure() -> Rates:
    """Measure the rates of one core: the best of a few short runs each."""
    small, vector, matrix = np.ones(8), np.linspace(0.0, 1.0, 20_000), np.full((256, 256), 0.5)
    large = np.ones(1_000_000)
    out = np.empty_like(large)
    with one_thread_each():
        call = _best(lambda: [np.negative(small) for _ in range(100)]) / 100
        # tanh counts as 40 operations in the cost model.
        flops = 40.0 * vector.size / _best(lambda: np.tanh(vector))
        blas = 2.0 * 256**3 / _best(lambda: matrix @ matrix)
        moved = 2.0 * large.nbytes / _best(lambda: np.negative(large, out=out))
    return Rates(call, flops, blas, moved)


def _best(action: Callable[[], Any], runs: int = 7) -> float:
    best = float("inf")
    for _ in range(runs):
        start = time.perf_counter()
        action()
        best = min(best, time.perf_counter() - start)
    return max(best, 1e-9)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path, content: dict[str, Any]) -> None:
    """Replace the file in one step; a place that cannot be written to is no error."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "w") as file:
            json.dump(content, file, indent=1)
        os.replace(name, path)
    except OSError:
        return
