"""The folder of compiled objects: what is trusted, and that nothing that goes wrong with it is fatal."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from gradloom_llvm import cache
from gradloom_llvm.cache import ObjectCache

KEY = hashlib.sha256(b"key").hexdigest()
OTHER = hashlib.sha256(b"other").hexdigest()
CONTENT = bytes(range(256)) * 3


@pytest.fixture
def objects(tmp_path: Path) -> ObjectCache:
    return ObjectCache(tmp_path / "objects")


@pytest.fixture
def filled(objects: ObjectCache) -> ObjectCache:
    objects.write(KEY, CONTENT)
    assert objects.read(KEY) == CONTENT
    return objects


def refused_then_replaced(objects: ObjectCache) -> None:
    """Check that the entry is a miss, and that the next write makes it good."""
    assert objects.read(KEY) is None
    objects.write(KEY, CONTENT)
    assert objects.read(KEY) == CONTENT


def test_an_entry_comes_back(filled: ObjectCache) -> None:
    assert filled.read(OTHER) is None
    filled.write(OTHER, b"")
    assert filled.read(OTHER) == b""
    assert filled.read(KEY) == CONTENT
    assert sorted(path.name for path in filled.folder.iterdir()) == sorted([f"{KEY}.o", f"{OTHER}.o"])


def test_only_the_user_may_read_and_write(filled: ObjectCache) -> None:
    assert filled.folder.stat().st_mode & 0o777 == 0o700
    assert filled.path(KEY).stat().st_mode & 0o777 == 0o600


def test_a_file_cut_at_any_offset_is_a_miss(filled: ObjectCache) -> None:
    whole = filled.path(KEY).read_bytes()
    for length in range(len(whole)):
        filled.path(KEY).write_bytes(whole[:length])
        assert filled.read(KEY) is None, length
    refused_then_replaced(filled)


def test_a_changed_byte_anywhere_is_a_miss(filled: ObjectCache) -> None:
    """Magic, format, key, length, hash or content: each byte counts."""
    whole = filled.path(KEY).read_bytes()
    for place in range(len(whole)):
        filled.path(KEY).write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert filled.read(KEY) is None, place
    filled.path(KEY).write_bytes(whole + b"\0")
    refused_then_replaced(filled)


def test_an_entry_of_another_format_is_a_miss(filled: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    refused_then_replaced(filled)


def test_an_entry_under_a_wrong_name_is_a_miss(filled: ObjectCache) -> None:
    filled.path(KEY).rename(filled.path(OTHER))
    assert filled.read(OTHER) is None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_a_miss(filled: ObjectCache, mode: int) -> None:
    filled.path(KEY).chmod(mode)
    refused_then_replaced(filled)


@pytest.mark.parametrize("mode", [0o770, 0o707, 0o777])
def test_a_folder_that_others_may_write_is_not_used(filled: ObjectCache, mode: int) -> None:
    filled.folder.chmod(mode)
    assert filled.read(KEY) is None
    filled.write(OTHER, CONTENT)
    filled.folder.chmod(0o700)
    assert filled.read(KEY) == CONTENT
    assert filled.read(OTHER) is None


def test_a_file_of_another_user_is_a_miss(filled: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fstat", foreign(os.fstat))
    assert filled.read(KEY) is None


def test_a_folder_of_another_user_is_not_used(filled: ObjectCache, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "lstat", foreign(os.lstat))
        assert filled.read(KEY) is None
        filled.write(OTHER, CONTENT)
    assert filled.read(OTHER) is None


def foreign(status: Any) -> Any:
    """Return `status` as if all files belonged to another user."""

    def of_another(path: Any) -> os.stat_result:
        fields = list(status(path))
        fields[4] = os.geteuid() + 1
        return os.stat_result(fields)

    return of_another


def test_a_link_is_not_followed(filled: ObjectCache, tmp_path: Path) -> None:
    filled.path(KEY).rename(tmp_path / "elsewhere.o")
    filled.path(KEY).symlink_to(tmp_path / "elsewhere.o")
    refused_then_replaced(filled)
    assert not filled.path(KEY).is_symlink()


def test_a_folder_that_is_a_link_is_not_used(filled: ObjectCache, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(filled.folder)
    linked = ObjectCache(tmp_path / "link")
    assert linked.read(KEY) is None
    linked.write(OTHER, CONTENT)
    assert filled.read(OTHER) is None


def test_a_pipe_does_not_block(filled: ObjectCache) -> None:
    filled.path(KEY).unlink()
    os.mkfifo(filled.path(KEY), 0o600)
    refused_then_replaced(filled)


def test_a_folder_in_place_of_an_entry_is_harmless(objects: ObjectCache) -> None:
    objects.path(KEY).mkdir(parents=True, mode=0o700)
    objects.folder.chmod(0o700)
    objects.write(KEY, CONTENT)
    assert objects.read(KEY) is None
    assert [path.name for path in objects.folder.iterdir()] == [f"{KEY}.o"]


def test_a_file_in_place_of_the_folder_is_harmless(objects: ObjectCache) -> None:
    objects.folder.write_bytes(b"")
    objects.write(KEY, CONTENT)
    assert objects.read(KEY) is None


@pytest.mark.parametrize("call", ["mkdir", "open", "write", "replace"])
def test_a_disk_that_refuses_is_harmless(objects: ObjectCache, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """Read-only or full: the write is dropped, and leaves nothing behind."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise OSError(28, "No space left on device")

    objects.write(OTHER, CONTENT)
    with monkeypatch.context() as patch:
        if call == "write":
            patch.setattr("builtins.open", lambda descriptor, mode: FullFile(descriptor))
        else:
            patch.setattr(Path if call == "mkdir" else os, call, refuse)
        objects.write(KEY, CONTENT)
    assert objects.read(KEY) is None
    assert objects.read(OTHER) == CONTENT
    assert len(list(objects.folder.iterdir())) == 1


class FullFile:
    """A file on a full disk."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> FullFile:
        return self

    def __exit__(self, *exception: object) -> None:
        os.close(self.descriptor)

    def write(self, content: bytes) -> int:
        raise OSError(28, "No space left on device")


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    keys = [hashlib.sha256(bytes([i])).hexdigest() for i in range(10)]
    objects = ObjectCache(tmp_path / "objects")
    for age, key in enumerate(keys):
        objects.write(key, bytes(1_000))
        os.utime(objects.path(key), (time.time() - 10**6 + age,) * 2)
    assert objects.read(keys[0]) is not None  # recorded as a use
    objects.limit = 10_000
    objects.sweep()
    kept = [objects.path(key).exists() for key in keys]
    assert kept == [True, False, False, False, False, True, True, True, True, True]


def test_writing_keeps_the_folder_within_its_limit(tmp_path: Path) -> None:
    limit = 20_000
    objects = ObjectCache(tmp_path / "objects", limit)
    for i in range(200):
        objects.write(hashlib.sha256(bytes([i])).hexdigest(), bytes(500))
        used = sum(path.stat().st_size for path in objects.folder.iterdir())
        assert used <= limit * 9 // 8
    assert used >= limit // 2


def test_abandoned_temporary_files_are_removed(filled: ObjectCache) -> None:
    old, new = filled.folder / ".writing-old", filled.folder / ".writing-new"
    old.touch()
    new.touch()
    os.utime(old, (0, 0))
    filled.sweep()
    assert not old.exists()
    assert new.exists()
    assert filled.read(KEY) == CONTENT


def test_processes_share_a_folder(tmp_path: Path) -> None:
    """Six processes write, sweep and read the same forty entries; what they read is whole."""
    script = f"""
import hashlib, random, sys
from pathlib import Path
from gradloom_llvm.cache import ObjectCache
objects = ObjectCache(Path({str(tmp_path / "objects")!r}), limit=100_000)
hits, order = 0, random.Random(int(sys.argv[1]))
for _ in range(400):
    i = order.randrange(40)
    key, content = hashlib.sha256(bytes([i])).hexdigest(), bytes([i]) * 5_000
    found = objects.read(key)
    assert found in (None, content)
    hits += found is not None
    if found is None or order.random() < 0.3:
        objects.write(key, content)
print(hits)
"""
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(seed)], stdout=subprocess.PIPE, text=True)
        for seed in range(6)
    ]
    hits = [int(process.communicate(timeout=60)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 6
    assert min(hits) > 0
    assert [path.name for path in (tmp_path / "objects").iterdir() if not path.name.endswith(".o")] == []
