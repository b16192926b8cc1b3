"""Where cached files stand, and that they are whole."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from gradloom.cache_files import cache_folder, write_whole


def test_the_user_chooses_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", str(tmp_path / "mine"))
    assert cache_folder() == tmp_path / "mine"
    for off in ("", "off", "OFF"):
        monkeypatch.setenv("GRADLOOM_CACHE_DIR", off)
        assert cache_folder() is None
    monkeypatch.delenv("GRADLOOM_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "gradloom"


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_platforms_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, platform: str) -> None:
    monkeypatch.delenv("GRADLOOM_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.setattr(sys, "platform", platform)
    names = {"linux": ".cache/gradloom", "darwin": "Library/Caches/gradloom", "win32": "Local/gradloom/Cache"}
    assert cache_folder() == tmp_path / names[platform]


def test_no_home_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("GRADLOOM_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert cache_folder() is None


def test_a_file_is_replaced_or_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "entry"
    write_whole(file, b"one")
    write_whole(file, b"two")
    assert file.read_bytes() == b"two"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600 or os.name == "nt"

    def fail(source: object, target: object) -> None:
        raise OSError("no")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="no"):
        write_whole(file, b"three")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("entry", b"two")]
