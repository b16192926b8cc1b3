"""Opening: llvmlite's library comes into memory while other Python threads run.

It takes as long as to compile a small kernel, and is the first thing that a process which will compile begins with. So
this module needs nothing that takes long to import, llvmlite itself included.
"""

from __future__ import annotations

import ctypes
import os
import sys
from contextlib import suppress
from importlib.machinery import PathFinder
from typing import Final

from gradloom_llvm.jobs import Job

__all__ = ["OPEN", "installed"]


def installed() -> bool:
    """Return whether there is a llvmlite, of whatever version."""
    return "llvmlite" in sys.modules or _place() is not None


def _place() -> str | None:
    """Return the folder of llvmlite, which need not be imported for that."""
    found = PathFinder.find_spec("llvmlite")
    return None if found is None or found.origin is None else os.path.dirname(found.origin)


def _open() -> None:
    """Load the library where it usually is; ctypes would stop all threads for ten milliseconds.

    What fails here fails again where ctypes opens it, and tells why.
    """
    folder = _place()
    if folder is None or sys.platform == "win32":
        return
    path = os.path.join(folder, "binding", "libllvmlite." + ("dylib" if sys.platform == "darwin" else "so"))
    with suppress(AttributeError):  # where the C library has it elsewhere
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
        dlopen(os.fsencode(path), os.RTLD_NOW)


#: What opens it, once.
OPEN: Final = Job(_open)
