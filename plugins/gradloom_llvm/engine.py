"""From IR text to callable native code.

::

    library = load(ir)                   # compiled once for each text, in this process and (disk cache) on this machine
    address = library.address("kernel")  # of any function that `ir` defines without `internal` or `private`

- ``load(ir: str) -> Library`` is thread-safe. The code stays in memory as long as the `Library` lives. IR that LLVM
  does not accept raises `CompileError` with LLVM's message.
- ``begin(ir) -> finish`` starts on another thread; ``finish()`` waits and returns the `Library`.
- ``host() -> Host`` describes the target: ``triple``, ``cpu``, ``features``, ``vector_bytes``; ``host_vector_bytes()``
  is 64, 32 or 16.
- ``assembly(ir, target=None) -> str`` shows the machine code, for other processors too (``Host("aarch64-linux-gnu")``).

What IR may rely on. Functions marked ``alwaysinline`` are inlined, and that is the only change made to the IR before
the code generator: write SSA (no ``alloca``), fold and share what can be shared. LLVM's own passes made no kernel
faster and took two or three times as long. Compiling takes 5 ms and 20 us for each instruction, inlined ones included;
a block of many thousand instructions takes longer than blocks of 500 that follow each other. Floating-point operations
are done as written: nothing is contracted or reassociated. Vectors of ``vector_bytes`` are one register. Symbols that
`ir` declares, each on a line of its own, are found in Python itself (``PyErr_SetString``; a variable is written
``@PyExc_ValueError = external global ptr``), in the C library and its mathematical part, and NumPy's types
(``PyArray_Type``, ``PyDoubleArrType_Type``, ``PyFloatArrType_Type``). Mark functions ``nounwind``: it saves tables.
"""

from __future__ import annotations

import ctypes
import math
import re
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from contextlib import suppress
from functools import cache, lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Final, TypeAlias, final
from weakref import WeakValueDictionary

import numpy as np

from gradloom.cache_files import cache_folder
from gradloom_llvm import native
from gradloom_llvm.cache import FORMAT, ObjectCache, sha256
from gradloom_llvm.jobs import LINKING, Job
from gradloom_llvm.native import CompileError, Host, Linker, host

__all__ = [
    "CompileError",
    "Host",
    "Library",
    "Writer",
    "assembly",
    "begin",
    "host",
    "host_vector_bytes",
    "load",
    "ready",
]

#: Changes with anything below that changes the code made of the same IR, and with what writers write in its place.
_PIPELINE: Final = "2"
#: NumPy's types by the names they have in C; NumPy's library does not export them.
_NUMPY_TYPES: Final = {"PyArray_Type": "ndarray", "PyDoubleArrType_Type": "float64", "PyFloatArrType_Type": "float32"}
#: Libraries kept although nobody else holds them.
_KEEP: Final = 512
#: Libraries that share a linker.
_GENERATION: Final = 64
#: A module longer than this many lines is compiled without optimisation, at 5-10 us a line; otherwise it takes 15-45.
_LONG: Final = 20_000

_NAME = re.compile(r"@([\w.$-]+)")


_forgotten: deque[int] = deque()  # serial numbers of libraries to unload


#: An object, and whether it comes from disk.
_Object: TypeAlias = tuple[bytes, bool]
#: Returns IR.
Writer: TypeAlias = Callable[[], str]


class Library:
    """Native code of one module; it stays in memory as long as this object lives."""

    __slots__ = ("__weakref__", "_serial", "_used", "addresses", "key")

    def __init__(self, key: str, addresses: dict[str, int], serial: int, used: list[Library]) -> None:
        self.key = key
        self.addresses = addresses
        self._serial = serial
        self._used = used

    def address(self, symbol: str) -> int:
        """Return the address of a function that the module defines.

        Raises
        ------
        CompileError
            The module defines no such function, or it is ``internal``.
        """
        try:
            return self.addresses[symbol]
        except KeyError:
            raise CompileError(f"no function {symbol!r}; the module defines {sorted(self.addresses)}") from None

    def __del__(self, forgotten: deque[int] = _forgotten) -> None:
        forgotten.append(self._serial)


# Finalisers run anywhere and must not lock: what they drop is unloaded by the next compilation.
_loaded: WeakValueDictionary[str, Library] = WeakValueDictionary()
_recent: OrderedDict[str, Library] = OrderedDict()
_jobs: WeakValueDictionary[str, Job[_Object]] = WeakValueDictionary()
_trackers: dict[int, int] = {}
_serials = count()


def load(ir: str, quick: bool = False, using: tuple[str, ...] = (), better: Writer | None = None) -> Library:
    """Return the native code of the module `ir`.

    Parameters
    ----------
    ir : str
        LLVM IR, without a target triple or data layout.
    quick : bool, default False
        Compile several times as fast, to code that is somewhat slower; for what runs briefly.
    using : tuple of str, optional
        The IR of other modules, compiled well, whose functions `ir` declares.
    better : callable, optional
        Writes the IR that is compiled in place of `ir` when not ``quick``: of the same functions, made from the same.

    Returns
    -------
    Library
        The functions of the module; the same object for the same text while it is in use.

    Raises
    ------
    CompileError
        LLVM does not accept `ir`, or a symbol that it declares is not to be found.
    """
    return _Module(ir, quick, using, better).finish()


def begin(
    ir: str, quick: bool = False, using: tuple[str, ...] = (), better: Writer | None = None
) -> Callable[[], Library]:
    """Begin to compile a module on another thread; the function returned waits, and returns what `load` does."""
    module = _Module(ir, quick, using, better)
    module.begin()
    return module.finish


def ready(ir: str, better: Writer | None = None) -> bool:
    """Return whether the code of a module is in memory or on disk, so that `load` need not compile it."""
    key, disk = _key(ir, _tier(False, better)), _disk()
    return key in _loaded or (disk is not None and disk.path(key).exists())


def host_vector_bytes() -> int:
    """Return the size of this machine's vector registers: 64, 32 or 16."""
    return host().vector_bytes


def assembly(ir: str, target: Host | None = None) -> str:
    """Return the assembly text of the module `ir` for `target`, by default this machine."""
    with LINKING:
        if target is not None:
            native.prepare_all_targets()
        return native.compiled(ir, target or host(), _level(ir), assembly=True).decode()


@lru_cache(maxsize=1)
def _linker(generation: int) -> Linker:
    """Return the linker of a number of libraries; it leaves memory after the last of them.

    LLVM's linker remembers 9 KB of each library that it ever linked, so one for all would grow.
    """
    return Linker()


def _first_linker() -> Linker:
    with LINKING:
        return _linker(0)


#: What makes the first linker.
LINKER: Final = Job(_first_linker)


@cache
def _versions() -> bytes:
    this = host()
    parts = (str(FORMAT), _PIPELINE, *native.versions(), this.triple, this.cpu, this.features)
    return bytes(sha256("\0".join(parts).encode()).digest())


@lru_cache(maxsize=512)
def _digest(ir: str) -> bytes:
    return bytes(sha256(ir.encode()).digest())


@lru_cache(maxsize=512)
def _key(ir: str, tier: bytes, using: tuple[str, ...] = ()) -> str:
    parts = [_versions(), tier, *map(_digest, (ir, *using))]
    return str(sha256(b"".join(parts)).hexdigest())


def _tier(quick: bool, better: Writer | None) -> bytes:
    """Return by what objects of the same IR differ."""
    return b"quick" if quick else b"better" if better else b""


def _level(ir: str, quick: bool = False) -> int:
    return 0 if quick or ir.count("\n") >= _LONG else 1


@final
class _Module:
    """A module on its way to a library: it is in memory, or its object is a job."""

    def __init__(self, ir: str, quick: bool, using: tuple[str, ...] = (), better: Writer | None = None) -> None:
        self._ir, self._quick = ir, quick
        write: Writer = (lambda: ir) if quick or better is None else better
        self._write = write
        self._key = key = _key(ir, _tier(quick, better), using)
        self._used = [_Module(used, False) for used in using]
        with LINKING:
            self._library = _loaded.get(key)
            job = _jobs.get(key)
            if job is None:
                job = Job(lambda: _object(key, write, quick), partial(_keep, key))
                if self._library is None:
                    _jobs[key] = job
        self._job = job

    def begin(self) -> None:
        """Let other threads compile it."""
        if self._library is None:
            for used in self._used:
                used.begin()
            self._job.begin(needed=True)

    def finish(self) -> Library:
        """Return the library, when it is compiled."""
        if self._library is not None:
            return _remembered(self._library)
        used = [module.finish() for module in self._used]
        content, stored = self._job.result()
        with LINKING:
            return _remembered(_loaded.get(self._key) or self._linked(content, stored, used))

    def _linked(self, content: bytes, stored: bool, used: list[Library]) -> Library:
        _unload()
        try:
            return _linked(self._key, self._ir, content, used)
        except CompileError:
            if not stored:
                raise
            content = _compiled(self._write(), self._quick)
            _keep(self._key, (content, False))
            return _linked(self._key, self._ir, content, used)


def _remembered(library: Library) -> Library:
    with LINKING:
        _loaded[library.key] = _recent[library.key] = library
        _recent.move_to_end(library.key)
        if len(_recent) > _KEEP:
            _recent.popitem(last=False)
    return library


def _object(key: str, write: Writer, quick: bool) -> _Object:
    """Return the object of a module, from disk or compiled."""
    disk = _disk()
    content = None if disk is None else disk.read(key)
    return (_compiled(write(), quick), False) if content is None else (content, True)


def _compiled(ir: str, quick: bool) -> bytes:
    return native.compiled(ir, host(), _level(ir, quick))


def _keep(key: str, found: _Object) -> None:
    """Keep an object on disk, unless it comes from there."""
    content, stored = found
    disk = _disk()
    if disk is not None and not stored:
        disk.write(key, content)


def _disk() -> ObjectCache | None:
    folder = cache_folder()
    return None if folder is None else _cache_in(str(folder))


@cache
def _cache_in(folder: str) -> ObjectCache:
    return ObjectCache(Path(folder) / "llvm")


def _symbols(ir: str) -> tuple[list[str], list[str]]:
    """Return the functions that `ir` defines for others, and the symbols that it takes from elsewhere."""
    defined: list[str] = []
    declared: list[str] = []
    for line in ir.splitlines():
        if line.startswith("define ") and not line.startswith(("define internal ", "define private ")):
            defined += _NAME.findall(line)[:1]
        elif (line.startswith("declare ") and "@llvm." not in line) or (line.startswith("@") and " external " in line):
            declared += _NAME.findall(line)[:1]
    return defined, declared


def _linked(key: str, ir: str, content: bytes, used: list[Library]) -> Library:
    defined, names = _symbols(ir)
    near = {name: address for library in used for name, address in library.addresses.items()}
    declared = {name: near.get(name) or _resolve(name) for name in names}
    serial = next(_serials)
    given = {name: address for name, address in declared.items() if address is not None}
    try:
        handle, addresses = _linker(serial // _GENERATION).link(f"{key}-{serial}", content, given, defined)
    except CompileError:
        unknown = sorted(declared.keys() - given.keys())
        if unknown:
            raise CompileError(f"these symbols are not to be found: {unknown}") from None
        raise
    _trackers[serial] = handle
    return Library(key, dict(zip(defined, addresses, strict=True)), serial, used)


@cache
def _resolve(name: str) -> int | None:
    """Return the address of a symbol of Python, of NumPy's types, or of the C library."""
    if name in _NUMPY_TYPES:
        return id(getattr(np, _NUMPY_TYPES[name]))
    for library in _libraries():
        with suppress(AttributeError):
            return ctypes.cast(library[name], ctypes.c_void_p).value
    return None


@cache
def _libraries() -> tuple[ctypes.CDLL, ...]:
    if sys.platform == "win32":
        return (ctypes.pythonapi, ctypes.CDLL("ucrtbase"))
    # The module `math` is linked with the mathematical library, whether or not the program itself is.
    extension = getattr(math, "__file__", None)
    return (ctypes.pythonapi, ctypes.CDLL(None), *([ctypes.CDLL(extension)] if extension else []))


def _unload() -> None:
    """Unload the libraries that were dropped since the last compilation."""
    while _forgotten:
        native.unload(_trackers.pop(_forgotten.popleft()))
