"""From IR text to callable native code.

::

    library = load(ir)                   # compiled once for each text, in this process and (disk cache) on this machine
    address = library.address("kernel")  # of any function that `ir` defines without `internal` or `private`

- ``load(ir: str) -> Library`` is thread-safe. The code stays in memory as long as the `Library` lives. IR that LLVM
  does not accept raises `CompileError` with LLVM's message.
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
import hashlib
import math
import os
import re
import sys
import threading
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import count
from pathlib import Path
from typing import Any, Final
from weakref import WeakValueDictionary

import numpy as np

from gradloom_llvm.cache import FORMAT, ObjectCache, user_folder

__all__ = ["CompileError", "Host", "Library", "assembly", "host", "host_vector_bytes", "load"]

#: Changes with anything below that changes the code made of the same IR.
_PIPELINE: Final = "1"
#: NumPy's types by the names they have in C; NumPy's library does not export them.
_NUMPY_TYPES: Final = {"PyArray_Type": "ndarray", "PyDoubleArrType_Type": "float64", "PyFloatArrType_Type": "float32"}
#: Libraries kept although nobody else holds them.
_KEEP: Final = 512
#: Libraries that share a linker.
_GENERATION: Final = 64
#: A module longer than this many lines is compiled without optimisation, at 5-10 us a line; otherwise it takes 15-45.
_LONG: Final = 20_000

_NAME = re.compile(r"@([\w.$-]+)")


class CompileError(RuntimeError):
    """LLVM does not accept the IR, or a symbol that it declares is not to be found."""


@dataclass(frozen=True, slots=True)
class Host:
    """What code is generated for; empty `cpu` and `features` mean any processor of that architecture."""

    triple: str
    cpu: str = ""
    features: str = ""
    vector_bytes: int = 16


_forgotten: deque[int] = deque()  # serial numbers of libraries to unload


class Library:
    """Native code of one module; it stays in memory as long as this object lives."""

    __slots__ = ("__weakref__", "_addresses", "_serial", "key")

    def __init__(self, key: str, addresses: dict[str, int], serial: int) -> None:
        self.key = key
        self._addresses = addresses
        self._serial = serial

    def address(self, symbol: str) -> int:
        """Return the address of a function that the module defines.

        Raises
        ------
        CompileError
            The module defines no such function, or it is ``internal``.
        """
        try:
            return self._addresses[symbol]
        except KeyError:
            raise CompileError(f"no function {symbol!r}; the module defines {sorted(self._addresses)}") from None

    def __del__(self, forgotten: deque[int] = _forgotten) -> None:
        forgotten.append(self._serial)


# One lock stands around all use of LLVM (llvmlite serialises its calls anyway). A fork waits for it, so that a child
# never starts in the middle of a compilation. Finalisers run anywhere and must not lock: what they drop is unloaded by
# the next compilation.
_lock = threading.RLock()
_loaded: WeakValueDictionary[str, Library] = WeakValueDictionary()
_recent: OrderedDict[str, Library] = OrderedDict()
_trackers: dict[int, Any] = {}
_serials = count()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


def load(ir: str, quick: bool = False) -> Library:
    """Return the native code of the module `ir`.

    Parameters
    ----------
    ir : str
        LLVM IR, without a target triple or data layout.
    quick : bool, default False
        Compile several times as fast, to code that is somewhat slower; for what runs briefly.

    Returns
    -------
    Library
        The functions of the module; the same object for the same text while it is in use.

    Raises
    ------
    CompileError
        LLVM does not accept `ir`, or a symbol that it declares is not to be found.
    """
    key = _key(ir, quick)
    with _lock:
        library = _loaded.get(key)
        if library is None:
            library = _loaded[key] = _load(key, ir, quick)
        _recent[key] = library
        _recent.move_to_end(key)
        if len(_recent) > _KEEP:
            _recent.popitem(last=False)
    return library


def host_vector_bytes() -> int:
    """Return the size of this machine's vector registers: 64, 32 or 16."""
    return host().vector_bytes


@cache
def host() -> Host:
    """Return the description of this machine."""
    with _lock:
        llvm = _llvm()
        features = llvm.get_host_cpu_features()
        if all(features.get(name) for name in ("avx512f", "avx512vl", "avx512dq", "avx512bw")):
            size = 64
        else:
            size = 32 if features.get("avx2") else 16
        return Host(llvm.get_process_triple(), llvm.get_host_cpu_name(), features.flatten(), size)


def assembly(ir: str, target: Host | None = None) -> str:
    """Return the assembly text of the module `ir` for `target`, by default this machine."""
    with _lock:
        if target is not None:
            _llvm().initialize_all_targets()
            _llvm().initialize_all_asmprinters()
        machine = _machine(target or host(), _level(ir))
        return str(machine.emit_assembly(_optimised(ir, machine)))


@cache
def _llvm() -> Any:
    """Import llvmlite and prepare it for this machine."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm


@cache
def _machine(host: Host, level: int) -> Any:
    # Position-independent code of the small model addresses its own data relative to itself and everything else through
    # tables that the linker fills: objects hold no address and are good in every process.
    target = _llvm().Target.from_triple(host.triple)
    return target.create_target_machine(
        cpu=host.cpu, features=host.features, opt=level, reloc="pic", codemodel="small", jit=True
    )


@lru_cache(maxsize=1)
def _jit(generation: int) -> Any:
    """Return the linker of a number of libraries; it leaves memory after the last of them.

    LLVM's linker remembers 9 KB of each library that it ever linked, so one for all would grow.
    """
    # JITLink puts all sections of an object side by side, as the small model wants; llvmlite has it but on Windows.
    return _llvm().create_lljit_compiler(_machine(host(), 1), use_jit_link=os.name != "nt", suppress_errors=True)


@cache
def _versions() -> bytes:
    with _lock:  # around the import of llvmlite too: a child forked during it could never import
        import llvmlite

        llvm = _llvm()
        this = host()
        parts = (str(FORMAT), _PIPELINE, llvmlite.__version__, str(llvm.llvm_version_info), this.triple, this.cpu)
        return "\0".join((*parts, this.features, "")).encode()


def _key(ir: str, quick: bool) -> str:
    return hashlib.sha256(_versions() + (b"quick" if quick else b"") + ir.encode()).hexdigest()


def _level(ir: str) -> int:
    return 1 if ir.count("\n") < _LONG else 0


def _load(key: str, ir: str, quick: bool) -> Library:
    _unload()
    disk = _disk()
    content = disk.read(key) if disk is not None else None
    if content is not None:
        with suppress(CompileError):
            return _linked(key, ir, content)
    machine = _machine(host(), 0 if quick else _level(ir))
    content = machine.emit_object(_optimised(ir, machine))
    library = _linked(key, ir, content)
    if disk is not None:
        disk.write(key, content)
    return library


def _disk() -> ObjectCache | None:
    folder = user_folder()
    return None if folder is None else _cache_in(str(folder))


@cache
def _cache_in(folder: str) -> ObjectCache:
    return ObjectCache(Path(folder) / "llvm")


def _optimised(ir: str, machine: Any) -> Any:
    """Return the verified module with ``alwaysinline`` functions inlined."""
    llvm = _llvm()
    try:
        module = llvm.parse_assembly(ir)
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        module.verify()
    except RuntimeError as error:
        raise CompileError(str(error)) from error
    passes = llvm.create_new_module_pass_manager()
    passes.add_always_inliner_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(1)))
    return module


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


def _linked(key: str, ir: str, content: bytes) -> Library:
    defined, names = _symbols(ir)
    declared = {name: _resolve(name) for name in names}
    builder = _llvm().JITLibraryBuilder().add_object_img(content)
    builder.add_current_process()  # for calls that the code generator makes up, such as memcpy
    for name, address in declared.items():
        if address is not None:
            builder.import_symbol(name, address)
    for name in defined:
        builder.export_symbol(name)
    serial = next(_serials)
    try:
        tracker = builder.link(_jit(serial // _GENERATION), f"{key}-{serial}")
    except RuntimeError as error:
        unknown = sorted(name for name, address in declared.items() if address is None)
        raise CompileError(f"these symbols are not to be found: {unknown}" if unknown else str(error)) from error
    _trackers[serial] = tracker
    return Library(key, {name: tracker[name] for name in defined}, serial)


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
        _trackers.pop(_forgotten.popleft()).close()
