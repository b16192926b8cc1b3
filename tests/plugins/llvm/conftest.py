"""The tests of the compiler leave the user's cache alone."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from gradloom_llvm import engine, kernel, tiers


@pytest.fixture(autouse=True, scope="session")
def common_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests a cache of their own, which they share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def strides_of_small_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take small arrays as they are, too, which stand for large ones here."""
    monkeypatch.setattr(kernel, "COPIED", 0)


@pytest.fixture(autouse=True)
def compiled_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compile everything well at once, as what runs for long is; other tests run what is compiled quickly."""
    monkeypatch.setattr(tiers, "SECONDS_A_LINE", 0)


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Start a test with nothing in memory and nothing on disk."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(folder))
    engine._recent.clear()
    gc.collect()
    return folder
