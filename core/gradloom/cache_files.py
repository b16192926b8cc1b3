"""Cache files: the folder that outlives the process, and how a file is written into it.

What works on files is imported where it is first needed: it would be a sixth of `import gradloom`.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Environment variable: the folder to keep files in; ``off`` or empty for none.
FOLDER: Final = "GRADLOOM_CACHE_DIR"
#: How the names of files begin that are not yet whole.
TEMPORARY: Final = ".writing-"
#: A new file, which nobody else has put there, for bytes.
_CREATE: Final = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def cache_folder() -> Path | None:
    """Return the folder of the user's cache, or None where caching is off.

    ``GRADLOOM_CACHE_DIR`` names it (``off`` or an empty value: no cache); otherwise it is ``gradloom`` in the
    platform's folder for caches, which ``XDG_CACHE_HOME`` overrules.
    """
    from pathlib import Path

    chosen = os.environ.get(FOLDER)
    if chosen is not None:
        return None if chosen.strip().lower() in ("", "off") else Path(os.path.abspath(os.path.expanduser(chosen)))
    xdg = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(xdg):  # the XDG specification: a relative path is to be ignored
        return Path(xdg) / "gradloom"
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "gradloom" / "Cache"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "gradloom"
        return Path.home() / ".cache" / "gradloom"
    except RuntimeError:  # no home folder
        return None


def write_whole(path: Path, content: bytes) -> None:
    """Replace a file, readable by the user alone, in one step: readers see the old content or the new.

    Raises
    ------
    OSError
        If the folder cannot be written to. Nothing is left behind.
    """
    # `tempfile` would import compression and random numbers, which takes as long as to compile a small kernel.
    temporary = os.path.join(path.parent, f"{TEMPORARY}{os.urandom(12).hex()}")
    descriptor = os.open(temporary, _CREATE, 0o600)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary)
        raise
