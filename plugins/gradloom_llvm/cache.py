"""A folder of compiled objects that outlives the process.

What is read here is executed, so the question is who could have written it. The answer wanted is: only somebody who
can already run code as this user. Therefore an entry counts only if

- the folder is a real directory (no link), owned by the effective user and writable by nobody else;
- the entry is a regular file (no link, pipe or device), owned by the effective user and writable by nobody else.
  This is asked of the *opened* file, so it cannot be exchanged between check and use;
- its header names this format and the wanted key (a hash of the source, the target and the versions), and its content
  has the length and the SHA-256 that the header states.

Whoever passes the first two can equally edit the user's shell profile or Python packages: a signature with a key kept
beside the folder would add nothing. The third is about accidents, not attacks: truncated, mixed-up or damaged files.
Windows has no owner and mode in this sense; there the user's profile folder is private by its access list.

Every failure is silent and harmless: an entry that cannot be trusted or read is a miss, and is replaced by the next
write; a folder that cannot be written is not written. Writers make a temporary file and rename it, so readers, in any
number of processes, see a whole entry or none.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import stat
import struct
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final

from gradloom.cache_files import TEMPORARY, write_whole
from gradloom_llvm.jobs import LINKING

__all__ = ["FORMAT", "ObjectCache", "sha256"]

#: Version of the layout of an entry; it is part of every header.
FORMAT: Final = 1
#: Magic, format, key, length of the content, SHA-256 of the content.
_HEADER: Final = struct.Struct("<8sI32sQ32s")
_MAGIC: Final = b"gradloom"
_LIMIT: Final = 256 * 2**20
#: A use within this many seconds of the last recorded one is not recorded again.
_RECENT: Final = 3600.0
_POSIX: Final = hasattr(os, "geteuid")
_OTHERS_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a pipe in place of a file must not block
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


@cache
def _sha256() -> Callable[[bytes], Any]:
    """Return Python's own SHA-256 where it can be had apart; `hashlib` would load OpenSSL, which takes milliseconds."""
    with LINKING:  # which forks wait for: a child of one amid an import would wait for that module for ever
        for name in ("_sha2", "_sha256", "hashlib"):
            with contextlib.suppress(ImportError, AttributeError):
                found: Callable[[bytes], Any] = importlib.import_module(name).sha256
                return found
    raise ImportError("this Python has no SHA-256")


def sha256(content: bytes) -> Any:
    """Return the SHA-256 of some bytes, with ``digest`` and ``hexdigest``."""
    # Loaded when needed: another thread loads LLVM meanwhile, and libraries are loaded one after the other.
    return _sha256()(content)


def _ours_alone(status: os.stat_result) -> bool:
    """Whether only the effective user can have written what `status` describes."""
    return not _POSIX or (status.st_uid == os.geteuid() and not status.st_mode & _OTHERS_WRITE)


class ObjectCache:
    """Compiled objects by key, in one folder.

    Parameters
    ----------
    folder : Path
        Where the entries stand; made, readable by the user alone, by the first write.
    limit : int
        Bytes to keep; beyond it the entries used longest ago are removed.
    """

    __slots__ = ("_unswept", "folder", "limit")

    def __init__(self, folder: Path, limit: int = _LIMIT) -> None:
        self.folder = folder
        self.limit = limit
        self._unswept: int | None = None  # bytes written since the last sweep

    def path(self, key: str) -> Path:
        """Return the file of the entry `key`, 64 hexadecimal digits."""
        return self.folder / f"{key}.o"

    def read(self, key: str) -> bytes | None:
        """Return the object stored under `key`, or None if there is none that can be trusted."""
        if not self._trusted():
            return None
        try:
            descriptor = os.open(self.path(key), _OPEN_FLAGS)
        except OSError:
            return None
        try:
            with open(descriptor, "rb", buffering=0) as file:
                status = os.fstat(descriptor)
                if not stat.S_ISREG(status.st_mode) or not _ours_alone(status):
                    return None
                content = _verified(file.read(), key)
        except OSError:
            return None
        if content is not None and time.time() - status.st_mtime > _RECENT:
            with contextlib.suppress(OSError):
                os.utime(self.path(key))
        return content

    def write(self, key: str, content: bytes) -> None:
        """Store `content` under `key` if the folder allows it."""
        header = _HEADER.pack(_MAGIC, FORMAT, bytes.fromhex(key), len(content), sha256(content).digest())
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not self._trusted():
                return
            write_whole(self.path(key), header + content)
            self._sweep_if_due(len(header) + len(content))
        except OSError:  # read-only, full, gone, in use: the cache is an offer
            return

    def _trusted(self) -> bool:
        try:
            status = os.lstat(self.folder)
        except OSError:
            return False
        return stat.S_ISDIR(status.st_mode) and _ours_alone(status)

    def _sweep_if_due(self, written: int) -> None:
        """Sweep at the first write of a process, and then each time a sixteenth of the limit has been written."""
        self._unswept = None if self._unswept is None else self._unswept + written
        if self._unswept is None or self._unswept > self.limit // 16:
            self._unswept = 0
            self.sweep()

    def sweep(self) -> None:
        """Remove abandoned temporary files and, beyond the limit, the entries used longest ago."""
        entries = []
        with os.scandir(self.folder) as listing:
            for entry in listing:
                with contextlib.suppress(OSError):  # removed by another process
                    status = entry.stat(follow_symlinks=False)
                    if entry.name.startswith(TEMPORARY) and time.time() - status.st_mtime > _RECENT:
                        os.unlink(entry.path)
                    elif entry.name.endswith(".o"):
                        entries.append((status.st_mtime, status.st_size, entry.path))
        excess = sum(size for _, size, _ in entries) - self.limit
        if excess <= 0:
            return
        excess += self.limit // 4  # room for a while
        for _, size, path in sorted(entries):
            if excess <= 0:
                return
            with contextlib.suppress(OSError):
                os.unlink(path)
            excess -= size


def _verified(entry: bytes, key: str) -> bytes | None:
    """Return the content of `entry` if its header fits it and `key`, else None."""
    if len(entry) < _HEADER.size:
        return None
    magic, version, stored_key, length, digest = _HEADER.unpack_from(entry)
    content = entry[_HEADER.size :]
    if (magic, version, stored_key, length) != (_MAGIC, FORMAT, bytes.fromhex(key), len(content)):
        return None
    return content if sha256(content).digest() == digest else None
