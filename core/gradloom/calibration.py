"""Calibration: how fast this machine computes, measured once and kept on disk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from gradloom.blas import one_thread_each
from gradloom.cache_files import FOLDER, cache_folder, write_whole
from gradloom.errors import ArgumentError

if TYPE_CHECKING:
    from pathlib import Path

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
    corrections : mapping of str to float
        By op, by how much longer it takes than the other rates say; found by `gradloom.explain`.
    """

    call: float = 1e-6
    flops: float = 1e9
    blas: float = 2e10
    bytes: float = 8e9
    corrections: Mapping[str, float] = MappingProxyType({})


@cache
def rates() -> Rates:
    """Return the rates of this machine: from the file, or measured now (40 ms) and kept there."""
    if os.environ.get(FILE) == "":
        return Rates()
    path = _file()
    known = _read(path)
    found = _checked(known.get(_machine()))
    if found is None:
        found = measure()
        _write(path, {**known, _machine(): _plain(found)})
    return found


def is_measured() -> bool:
    """Return whether `rates` need not measure."""
    if rates.cache_info().currsize or os.environ.get(FILE) == "":
        return True
    path = _file()
    return path is not None and path.exists()


def correct(factors: Mapping[str, float]) -> None:
    """Multiply the corrections of some ops by factors, and keep them: plans made from now on are estimated by them.

    Raises
    ------
    ArgumentError
        If there is no file to keep them in, or a factor is not a positive number.
    """
    path = _file()
    if path is None:
        raise ArgumentError(
            f"nothing is kept, as {FILE} is empty, or {FOLDER} says so",
            op="explain",
            argument="keep",
            remedy=f"name a file in {FILE}",
        )
    for op, factor in factors.items():
        if not _positive(factor):
            raise ArgumentError(
                f"op {op!r} cannot be corrected",
                op="explain",
                argument="factors",
                expected="positive numbers",
                got=factor,
            )
    now = rates()
    corrections = dict(now.corrections)
    for op, factor in factors.items():
        corrections[op] = corrections.get(op, 1.0) * factor
    _write(path, {**_read(path), _machine(): _plain(now._replace(corrections=corrections))})
    rates.cache_clear()


def _file() -> Path | None:
    """Return where rates are kept; None if nowhere."""
    from pathlib import Path

    named = os.environ.get(FILE)
    if named is not None:
        return Path(named) if named else None
    folder = cache_folder()
    return None if folder is None else folder / "calibration.json"


def _machine() -> str:
    import platform

    return f"{platform.node()} {platform.machine()} {os.cpu_count()} numpy-{np.__version__}"


def _plain(known: Rates) -> dict[str, Any]:
    return {**known._asdict(), "corrections": dict(known.corrections)}


def _checked(found: Any) -> Rates | None:
    """Return rates as they were read from a file; None if they are no such."""
    if not isinstance(found, dict):
        return None
    corrections = found.get("corrections", {})
    speeds = [found.get(name) for name in ("call", "flops", "blas", "bytes")]
    if not isinstance(corrections, dict) or not all(map(_positive, [*speeds, *corrections.values()])):
        return None
    call, flops, blas, moved = map(float, speeds)  # type: ignore[arg-type]
    return Rates(call, flops, blas, moved, MappingProxyType(corrections))


def _positive(number: Any) -> bool:
    return isinstance(number, (int, float)) and not isinstance(number, bool) and 0.0 < number < float("inf")


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


def _read(path: Path | None) -> dict[str, Any]:
    import json

    try:
        found = {} if path is None else json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(path: Path | None, content: dict[str, Any]) -> None:
    """Replace the file; a place that cannot be written to is no error."""
    import json

    if path is not None:
        with suppress(OSError):
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(path, json.dumps(content, indent=1).encode())
