"""The tests of the compiler leave the user's cache alone, and start with nothing in memory."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from gradloom_llvm import engine


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(folder))
    engine._recent.clear()
    gc.collect()
    return folder
