"""Tests that need a CUDA device; without one they are deselected, so that none is skipped."""

from __future__ import annotations

from pathlib import Path

import pytest

from gradloom.backend import backends

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is in this folder, and deselect it where CuPy cannot run."""
    ours = [item for item in items if HERE in item.path.parents]
    for item in ours:
        item.add_marker(pytest.mark.gpu)
    if ours and backends.get("cupy").unavailable() is not None:
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if HERE not in item.path.parents]
