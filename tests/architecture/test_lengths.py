"""The core can be read in one sitting: a budget for its heart, a report on the rest."""

from __future__ import annotations

import warnings
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Graph, trace and the two transforms everything rests on; lines.
HEART = ("graph.py", "trace.py", "autodiff.py", "batching.py")
BUDGET = 1_500
#: A file longer than this is reported; a reviewer decides.
LONG, LONG_OPS = 450, 600


def length(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_the_heart_of_the_core() -> None:
    """graph + trace + autodiff + batching stay near 1,500 lines together."""
    lengths = {name: length(ROOT / "core" / "gradloom" / name) for name in HEART}
    assert sum(lengths.values()) <= BUDGET, lengths


def test_report_of_long_files() -> None:
    """Long files are named in the warnings summary."""
    sources = [path for root in ("core", "plugins", "scheduler") for path in sorted((ROOT / root).rglob("*.py"))]
    assert sources
    for path in sources:
        limit = LONG_OPS if "ops" in path.parts else LONG
        if length(path) > limit:
            warnings.warn(f"{path.relative_to(ROOT)} has {length(path)} lines, more than {limit}", stacklevel=1)
