"""LLVM, by the C functions of llvmlite's library.

``llvmlite.binding`` offers the same and much more, but takes longer to import than a kernel to compile, and lets one
thread in at a time. What stands here keeps no state that compilations share, so any number of threads may compile.

The C functions are llvmlite's own affair. Those used here are the same in all versions from 0.46 to `KNOWN`; tests
compare their types with what ``llvmlite.binding`` declares for the version installed.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from ctypes import POINTER, c_bool, c_char_p, c_int, c_size_t, c_uint8, c_uint64, c_void_p
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, final

from gradloom_llvm.jobs import Job

__all__ = ["START", "CompileError", "Host", "Linker", "compiled", "host", "unavailable", "versions"]

#: The newest version of llvmlite whose functions are known to have the types below.
KNOWN: Final = (0, 50)


class CompileError(RuntimeError):
    """LLVM does not accept the IR, or a symbol that it declares is not to be found."""


@final
class Host:
    """What code is generated for; empty `cpu` and `features` mean any processor of that architecture."""

    __slots__ = ("cpu", "features", "triple", "vector_bytes")

    def __init__(self, triple: str, cpu: str = "", features: str = "", vector_bytes: int = 16) -> None:
        self.triple, self.cpu, self.features = triple, cpu, features
        self.vector_bytes = vector_bytes


class LinkElement(ctypes.Structure):
    """What the linker is given: an object (2), or a library by name (3; the process itself has none)."""

    _fields_ = (("kind", c_uint8), ("value", c_char_p), ("length", c_size_t))


class SymbolAddress(ctypes.Structure):
    """A symbol and where it is."""

    _fields_ = (("name", c_char_p), ("address", c_uint64))


_TEXT: Final = POINTER(c_char_p)

#: Of each function the type of its result, then those of its arguments.
FUNCTIONS: Final[Mapping[str, tuple[Any, ...]]] = {
    "InitializeNativeTarget": (c_int,),
    "InitializeNativeAsmPrinter": (c_int,),
    "InitializeAllTargetInfos": (c_int,),
    "InitializeAllTargets": (c_int,),
    "InitializeAllTargetMCs": (c_int,),
    "InitializeAllAsmPrinters": (c_int,),
    "GetVersionInfo": (c_int,),
    "DisposeString": (c_int, c_char_p),
    "GetProcessTriple": (c_int, _TEXT),
    "GetHostCPUName": (c_int, _TEXT),
    "GetHostCPUFeatures": (c_int, _TEXT),
    "GetTargetFromTriple": (c_void_p, c_char_p, _TEXT),
    "CreateTargetMachine": (
        *(c_void_p, c_void_p, c_char_p, c_char_p, c_char_p, c_int, c_char_p, c_char_p, c_int, c_int, c_char_p),
    ),
    "DisposeTargetMachine": (c_int, c_void_p),
    "CreateTargetMachineData": (c_void_p, c_void_p),
    "CopyStringRepOfTargetData": (c_int, c_void_p, _TEXT),
    "DisposeTargetData": (c_int, c_void_p),
    "ContextCreate": (c_void_p,),
    "ContextDispose": (c_int, c_void_p),
    "ParseAssembly": (c_void_p, c_void_p, c_char_p, _TEXT),
    "SetTarget": (c_int, c_void_p, c_char_p),
    "SetDataLayout": (c_int, c_void_p, c_char_p),
    "VerifyModule": (c_bool, c_void_p, _TEXT),
    "DisposeModule": (c_int, c_void_p),
    "CreatePipelineTuningOptions": (c_void_p,),
    "DisposePipelineTuningOptions": (c_int, c_void_p),
    "CreatePassBuilder": (c_void_p, c_void_p, c_void_p),
    "DisposePassBuilder": (c_int, c_void_p),
    "CreateNewModulePassManager": (c_void_p,),
    "DisposeNewModulePassManger": (c_int, c_void_p),
    "module_AddAlwaysInlinerPass": (c_int, c_void_p),
    "RunNewModulePassManager": (c_int, c_void_p, c_void_p, c_void_p),
    "TargetMachineEmitToMemory": (c_void_p, c_void_p, c_void_p, c_int, _TEXT),
    "GetBufferStart": (c_void_p, c_void_p),
    "GetBufferSize": (c_size_t, c_void_p),
    "DisposeMemoryBuffer": (c_int, c_void_p),
    "CreateLLJITCompiler": (c_void_p, c_void_p, c_bool, c_bool, _TEXT),
    "LLJITDispose": (c_int, c_void_p),
    "LLJIT_Link": (
        *(c_void_p, c_void_p, c_char_p, POINTER(LinkElement), c_size_t),
        *(POINTER(SymbolAddress), c_size_t, POINTER(SymbolAddress), c_size_t, _TEXT),
    ),
    "LLJIT_Dylib_Tracker_Dispose": (c_bool, c_void_p, _TEXT),
}


@cache
def unfit() -> str | None:
    """Return why llvmlite cannot be used here, or None if its library is worth a try."""
    try:
        import llvmlite
    except ModuleNotFoundError as error:
        return f"llvmlite is not installed (pip install 'gradloom[cpu]'): {error}"
    except Exception as error:
        return f"llvmlite cannot be imported ({error})"
    found = tuple([int(word) for word in llvmlite.__version__.split(".")[:2] if word.isdecimal()])
    if found > KNOWN:
        return f"llvmlite {llvmlite.__version__} is newer than {'.'.join(map(str, KNOWN))}, the newest that is known"
    return None


@cache
def unavailable() -> str | None:
    """Return why LLVM cannot be used here, or None if it can."""
    reason = unfit()
    if reason is not None:
        return reason
    try:
        _library()
    except (OSError, AttributeError) as error:
        import llvmlite

        return f"the library of llvmlite {llvmlite.__version__} cannot be loaded ({error})"
    return None


def _library() -> Any:
    """Return the functions of llvmlite's library by their names; it is loaded once."""
    return START.result()


def _start() -> Any:
    """Load llvmlite's library and prepare it for this machine; return its functions by their names.

    Those that take long let other Python threads run; the others do not, since waiting for those
    threads afterwards would take longer than the function. For the same reason nothing is imported here that
    `unfit` has not imported.
    """
    import llvmlite

    path = str(Path(llvmlite.__file__).parent / "binding" / library_name())
    _open(path)
    holds_gil, frees_gil = ctypes.PyDLL(path), ctypes.CDLL(path)
    functions = SimpleNamespace()
    for name, (result, *arguments) in FUNCTIONS.items():
        function = (frees_gil if name in _LONG else holds_gil)[f"LLVMPY_{name}"]
        function.restype, function.argtypes = result, arguments
        setattr(functions, name, function)
    functions.InitializeNativeTarget()
    functions.InitializeNativeAsmPrinter()
    return functions


def library_name() -> str:
    """Return the name of the library's file."""
    return {"darwin": "libllvmlite.dylib", "win32": "llvmlite.dll"}.get(sys.platform, "libllvmlite.so")


def _open(path: str) -> None:
    """Load a library while other Python threads run; ctypes would stop them for ten milliseconds."""
    if sys.platform == "win32":
        return
    with suppress(AttributeError):  # where the C library has it elsewhere
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.restype, dlopen.argtypes = c_void_p, (c_char_p, c_int)
        dlopen(os.fsencode(path), os.RTLD_NOW)  # what fails here fails again where ctypes opens it, and tells why


#: Parsing and inlining take a tenth of the time of what follows, and would wait for the lock afterwards.
_LONG: Final = frozenset(
    "InitializeNativeTarget InitializeNativeAsmPrinter TargetMachineEmitToMemory CreateLLJITCompiler LLJIT_Link".split()
)
#: What starts LLVM; it takes as long as to compile a small kernel.
START: Final = Job(_start)


def _text(function: Any, *arguments: Any) -> str:
    """Return the text that a function writes to its last argument."""
    return _told(function, *arguments)[1]


def _told(function: Any, *arguments: Any) -> tuple[Any, str]:
    """Return a function's result, and the text that it writes to its last argument."""
    text = c_char_p()
    result = function(*arguments, ctypes.byref(text))
    if text.value is None:
        return result, ""
    words = text.value.decode()
    _library().DisposeString(text)
    return result, words


@cache
def host() -> Host:
    """Return the description of this machine."""
    llvm = _library()
    features = sorted(_text(llvm.GetHostCPUFeatures).split(","), key=lambda word: word[1:])
    if all(f"+{name}" in features for name in ("avx512f", "avx512vl", "avx512dq", "avx512bw")):
        size = 64
    else:
        size = 32 if "+avx2" in features else 16
    return Host(_text(llvm.GetProcessTriple), _text(llvm.GetHostCPUName), ",".join(filter(None, features)), size)


def versions() -> tuple[str, ...]:
    """Return the versions of llvmlite and LLVM."""
    import llvmlite

    return llvmlite.__version__, str(_library().GetVersionInfo())


def prepare_all_targets() -> None:
    """Let `compiled` serve other processors than this machine's."""
    for name in (
        "InitializeAllTargetInfos",
        "InitializeAllTargets",
        "InitializeAllTargetMCs",
        "InitializeAllAsmPrinters",
    ):
        getattr(_library(), name)()


@cache
def _idle_machines(target: Host, level: int) -> deque[int]:
    """Return where code generators wait for the next module: to make one takes as long as twenty lines."""
    return deque()


def _machine(target: Host, level: int) -> int:
    """Return a code generator that nobody else uses."""
    with suppress(IndexError):
        return _idle_machines(target, level).pop()
    # Position-independent code of the small model addresses its own data relative to itself and everything else through
    # tables that the linker fills: objects hold no address and are good in every process.
    llvm = _library()
    triple = target.triple.encode()
    of_triple, error = _told(llvm.GetTargetFromTriple, triple)
    if not of_triple:
        raise CompileError(error)
    words = triple, target.cpu.encode(), target.features.encode()
    machine: int = llvm.CreateTargetMachine(of_triple, *words, level, b"pic", b"small", 0, 1, b"")
    return machine


def compiled(ir: str, target: Host, level: int, assembly: bool = False) -> bytes:
    """Return the object of a module, or its assembly text; ``alwaysinline`` functions are inlined.

    Raises
    ------
    CompileError
        LLVM does not accept `ir`; it is verified first.
    """
    llvm = _library()
    machine, context = _machine(target, level), llvm.ContextCreate()
    module = None
    try:
        module, error = _told(llvm.ParseAssembly, context, ir.encode())
        if not module or error:
            raise CompileError(error)
        llvm.SetTarget(module, target.triple.encode())
        layout = llvm.CreateTargetMachineData(machine)
        llvm.SetDataLayout(module, _text(llvm.CopyStringRepOfTargetData, layout).encode())
        llvm.DisposeTargetData(layout)
        wrong, error = _told(llvm.VerifyModule, module)
        if wrong:
            raise CompileError(error)
        if "alwaysinline" in ir:
            _inline(module, machine)
        buffer, error = _told(llvm.TargetMachineEmitToMemory, machine, module, int(not assembly))
        if not buffer:
            raise CompileError(error)
        content = ctypes.string_at(llvm.GetBufferStart(buffer), llvm.GetBufferSize(buffer))
        llvm.DisposeMemoryBuffer(buffer)
        return content
    finally:
        if module:
            llvm.DisposeModule(module)
        llvm.ContextDispose(context)
        _idle_machines(target, level).append(machine)


def _inline(module: int, machine: int) -> None:
    llvm = _library()
    passes, options = llvm.CreateNewModulePassManager(), llvm.CreatePipelineTuningOptions()
    builder = llvm.CreatePassBuilder(machine, options)
    llvm.module_AddAlwaysInlinerPass(passes)
    llvm.RunNewModulePassManager(passes, module, builder)
    llvm.DisposePassBuilder(builder)
    llvm.DisposePipelineTuningOptions(options)
    llvm.DisposeNewModulePassManger(passes)


def _warm_up() -> None:
    compiled(_SAMPLE, host(), 0)


#: A bit of everything that kernels are made of.
_SAMPLE: Final = """
define internal <4 x double> @value(<4 x double> %x) noinline nounwind {
  %positive = fcmp ogt <4 x double> %x, zeroinitializer
  %least = select <4 x i1> %positive, <4 x double> %x, <4 x double> zeroinitializer
  %square = fmul <4 x double> %least, %least
  ret <4 x double> %square
}
define void @kernel(ptr %p, i64 %n) nounwind {
entry:
  br label %loop
loop:
  %i = phi i64 [ 0, %entry ], [ %i.next, %loop ]
  %place = getelementptr double, ptr %p, i64 %i
  %x = load <4 x double>, ptr %place, align 8
  %y = call <4 x double> @value(<4 x double> %x)
  store <4 x double> %y, ptr %place, align 8
  %i.next = add i64 %i, 4
  %more = icmp slt i64 %i.next, %n
  br i1 %more, label %loop, label %done
done:
  ret void
}
"""
#: The first compilation of a process takes a third longer, since LLVM makes its tables and its code is read in.
WARM_UP: Final = Job(_warm_up)


@final
class Linker:
    """Puts objects into memory; it goes after the last of them."""

    def __init__(self) -> None:
        llvm = _library()
        self._machine = _machine(host(), 1)
        # JITLink puts all sections of an object side by side, as the small model wants; llvmlite has it but on Windows.
        self._pointer, error = _told(llvm.CreateLLJITCompiler, self._machine, True, sys.platform != "win32")
        if not self._pointer:
            raise CompileError(error)

    def __del__(self, finalizing: Any = sys.is_finalizing, llvm: Any = _library) -> None:
        if not finalizing() and getattr(self, "_pointer", None):
            llvm().LLJITDispose(self._pointer)
            llvm().DisposeTargetMachine(self._machine)

    def link(self, name: str, content: bytes, imports: Mapping[str, int], exports: list[str]) -> tuple[int, list[int]]:
        """Return a handle for `unload`, and the addresses of the exports.

        Parameters
        ----------
        name : str
            One that this linker has not had.
        content : bytes
            An object.
        imports : mapping
            Addresses of symbols that it takes from elsewhere. What code generators make up, such
            as ``memcpy``, is found in the process.
        exports : list of str
            Functions that it defines.
        """
        elements = (LinkElement * 2)(LinkElement(2, content, len(content)), LinkElement(3, b"", 0))
        given = (SymbolAddress * len(imports))(*[SymbolAddress(n.encode(), a) for n, a in imports.items()])
        wanted = (SymbolAddress * len(exports))(*[SymbolAddress(n.encode(), 0) for n in exports])
        arguments = elements, len(elements), given, len(given), wanted, len(wanted)
        handle, error = _told(_library().LLJIT_Link, self._pointer, name.encode(), *arguments)
        if not handle:
            raise CompileError(error)
        return handle, [symbol.address for symbol in wanted]


def unload(handle: int) -> None:
    """Take what was linked out of memory."""
    _told(_library().LLJIT_Dylib_Tracker_Dispose, handle)
