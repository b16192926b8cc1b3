"""From IR text to code: what it computes, where it is kept, and what it survives."""

from __future__ import annotations

import ctypes
import gc
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gradloom_llvm import engine, native
from gradloom_llvm.engine import CompileError, Host, Library, assembly, begin, host, host_vector_bytes, load

pytestmark = pytest.mark.usefixtures("own_cache")


def adds(number: int) -> str:
    """Return IR of a function that adds `number`."""
    return f"""
define i64 @add(i64 %x) nounwind {{
  %sum = add i64 %x, {number}
  ret i64 %sum
}}
"""


def call(library: Library, symbol: str, kind: Any, *arguments: Any) -> Any:
    return ctypes.CFUNCTYPE(kind, *[kind] * len(arguments))(library.address(symbol))(*arguments)


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that grows with each compilation."""
    done: list[str] = []
    compiled = native.compiled

    def counted(ir: str, *others: Any) -> bytes:
        done.append(ir)
        return compiled(ir, *others)

    monkeypatch.setattr(native, "compiled", counted)
    return done


def python(script: str) -> str:
    """Run `script` in a fresh process and return what it prints."""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- code ---------------------------------------------------------------------------------------


def test_a_function_runs() -> None:
    assert call(load(adds(5)), "add", ctypes.c_int64, 37) == 42


def test_symbols_of_python_numpy_and_the_mathematical_library() -> None:
    library = load("""
@PyExc_ValueError = external global ptr
@PyArray_Type = external global i8
@PyDoubleArrType_Type = external global i8
@PyFloatArrType_Type = external global i8
@text = private constant [6 x i8] c"wrong\\00"
declare void @PyErr_SetString(ptr, ptr)
declare double @tgamma(double)
declare double @llvm.sin.f64(double)
declare double @llvm.cos.f64(double)
define double @libm(double %x) nounwind {
  %gamma = call double @tgamma(double %x)
  %sin = call double @llvm.sin.f64(double %x)
  %cos = call double @llvm.cos.f64(double %x)
  %both = fmul double %sin, %cos
  %sum = fadd double %gamma, %both
  ret double %sum
}
define ptr @fails() nounwind {
  %kind = load ptr, ptr @PyExc_ValueError
  call void @PyErr_SetString(ptr %kind, ptr @text)
  ret ptr null
}
define ptr @ndarray() nounwind {
  ret ptr @PyArray_Type
}
define ptr @float64() nounwind {
  ret ptr @PyDoubleArrType_Type
}
define ptr @float32() nounwind {
  ret ptr @PyFloatArrType_Type
}
""")
    assert call(library, "libm", ctypes.c_double, 5.0) == pytest.approx(24 + np.sin(5.0) * np.cos(5.0), rel=1e-15)
    with pytest.raises(ValueError, match="wrong"):
        ctypes.PYFUNCTYPE(ctypes.py_object)(library.address("fails"))()
    types = {"ndarray": np.ndarray, "float64": np.float64, "float32": np.float32}
    assert {name: call(library, name, ctypes.c_void_p) for name in types} == {n: id(t) for n, t in types.items()}


def test_only_functions_for_others_have_addresses() -> None:
    library = load(adds(1) + "define internal void @mine() nounwind {\n  ret void\n}\n")
    with pytest.raises(CompileError, match=r"no function 'mine'; the module defines \['add'\]"):
        library.address("mine")


BAD = {
    "function result type": """
define void @f() {
  ret i32 0
}
""",
    "does not dominate": """
define i32 @f(i1 %c) {
  br i1 %c, label %a, label %b
a:
  %x = add i32 1, 2
  br label %b
b:
  ret i32 %x
}
""",
    r"not to be found: \['no_such'\]": """
declare void @no_such()
define void @f() {
  call void @no_such()
  ret void
}
""",
}


@pytest.mark.parametrize("message", BAD)
def test_bad_ir_raises(message: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError, match=message):
        load(BAD[message])
    assert capfd.readouterr() == ("", "")
    assert call(load(adds(5)), "add", ctypes.c_int64, 37) == 42


def vectors(size: int) -> str:
    """Return IR that computes a * b + c, without fma, on vectors of `size` bytes."""
    kind = f"<{size // 8} x double>"
    return f"""
define internal {kind} @product({kind} %a, {kind} %b) alwaysinline nounwind {{
  %p = fmul {kind} %a, %b
  ret {kind} %p
}}
define void @kernel(ptr %a, ptr %b, ptr %c) nounwind {{
  %x = load {kind}, ptr %a, align 8
  %y = load {kind}, ptr %b, align 8
  %z = load {kind}, ptr %c, align 8
  %p = call {kind} @product({kind} %x, {kind} %y)
  %s = fadd {kind} %p, %z
  store {kind} %s, ptr %c, align 8
  ret void
}}
"""


def test_vectors_are_whole_registers_and_nothing_is_contracted() -> None:
    text = assembly(vectors(host_vector_bytes()))
    assert "call" not in text
    assert not re.search("fn?m(add|sub|la|ls)", text)
    if host().triple.startswith("x86_64"):
        letter = {64: "z", 32: "y", 16: "x"}[host_vector_bytes()]
        assert set(re.findall("%([xyz])mm", text)) == {letter}


@pytest.mark.parametrize(
    ("target", "register"),
    [
        (Host("x86_64-unknown-linux-gnu"), "xmm"),
        (Host("x86_64-unknown-linux-gnu", "haswell", "+avx2", 32), "ymm"),
        (Host("x86_64-unknown-linux-gnu", "skylake-avx512", "", 64), "zmm"),
        (Host("aarch64-unknown-linux-gnu"), r"v\d+\.2d"),
        (Host("arm64-apple-darwin"), r"\.2d"),
    ],
)
def test_other_processors(target: Host, register: str) -> None:
    text = assembly(vectors(target.vector_bytes), target)
    assert re.search(register, text)
    assert not re.search("fn?m(add|sub|la|ls)", text)


def test_a_long_module_takes_time_in_proportion() -> None:
    """Beyond a length the code generator's optimisations are left out."""

    def chain(length: int) -> str:
        steps = "".join(f"  %x{i + 1} = xor i64 %x{i}, {i}\n" for i in range(length))
        return f"define i64 @f(i64 %x0) nounwind {{\n{steps}  ret i64 %x{length}\n}}\n"

    assert engine._level(chain(100)) == 1
    assert engine._level(chain(engine._LONG)) == 0
    expected = 0
    for i in range(engine._LONG):
        expected ^= i
    assert call(load(chain(engine._LONG)), "f", ctypes.c_int64, 0) == expected


def test_a_module_uses_another() -> None:
    """It holds what it uses, and modules of the same text that use different ones are different."""
    caller = """
declare i64 @add(i64)
define i64 @twice(i64 %x) nounwind {
  %once = call i64 @add(i64 %x)
  %result = call i64 @add(i64 %once)
  ret i64 %result
}
"""
    libraries = [load(caller, quick=True, using=(adds(5),)), begin(caller, quick=True, using=(adds(7),))()]
    engine._recent.clear()
    gc.collect()
    load(adds(6))  # before which is unloaded what nobody holds
    assert [call(library, "twice", ctypes.c_int64, 1) for library in libraries] == [11, 15]
    assert load(caller, quick=True, using=(adds(5),)) is libraries[0]
    with pytest.raises(CompileError, match="add"):
        load(caller)


# --- memory and disk ----------------------------------------------------------------------------


def test_the_same_text_is_compiled_once(compilations: list[str]) -> None:
    assert load(adds(101)) is load(adds(101))
    assert load(adds(101)) is not load(adds(102))
    assert len(compilations) == 2


def test_several_modules_at_once(compilations: list[str]) -> None:
    """What there is is not compiled again, what is asked for twice is compiled once, and an error leaves nothing."""
    held = load(adds(111))
    texts = [adds(number) for number in (112, 111, 113, 112)]
    libraries = [finish() for finish in [begin(text) for text in texts]]
    assert libraries[1] is held
    assert libraries[3] is libraries[0]
    assert [call(library, "add", ctypes.c_int64, 1) for library in libraries] == [113, 112, 114, 113]
    assert sorted(compilations) == sorted(texts[:3])
    first, bad, last = [begin(text) for text in (adds(114), BAD[r"not to be found: \['no_such'\]"], adds(115))]
    for _ in range(2):
        with pytest.raises(CompileError, match="no_such"):
            bad()
    assert [call(finish(), "add", ctypes.c_int64, 1) for finish in (last, first)] == [116, 115]
    assert last() is load(adds(115))


def test_what_is_begun_and_never_asked_for_does_no_harm(compilations: list[str]) -> None:
    begin("no IR")
    begin(adds(116))
    assert call(load(adds(116)), "add", ctypes.c_int64, 1) == 117
    with pytest.raises(CompileError, match="expected"):
        begin("no IR")()


def test_another_process_finds_the_code_on_disk(compilations: list[str], own_cache: Path) -> None:
    """Code from another process, at other addresses, calls Python and the mathematical library."""
    ir = """
@PyExc_KeyError = external global ptr
declare void @PyErr_SetNone(ptr)
declare double @lgamma(double)
@table = private constant [2 x double] [double 1.5, double 2.5]
define double @f(double %x, i64 %i) nounwind {
  %y = call double @lgamma(double %x)
  %place = getelementptr double, ptr @table, i64 %i
  %z = load double, ptr %place
  %sum = fadd double %y, %z
  ret double %sum
}
define ptr @fails() nounwind {
  %kind = load ptr, ptr @PyExc_KeyError
  call void @PyErr_SetNone(ptr %kind)
  ret ptr null
}
"""
    script = f"""
import ctypes
from gradloom_llvm import engine, native
library = engine.load({ir!r})
print(library.address("f"))
print(ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)(library.address("f"))(4.0, 1))
try:
    ctypes.PYFUNCTYPE(ctypes.py_object)(library.address("fails"))()
except KeyError:
    print("KeyError")
"""
    there = [python(script).split() for _ in range(3)]
    assert {tuple(lines[1:]) for lines in there} == {(str(np.log(6.0) + 2.5), "KeyError")}
    function = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_double, ctypes.c_int64)(load(ir).address("f"))
    assert function(4.0, 0) == np.log(6.0) + 1.5
    assert compilations == []
    assert len(list((own_cache / "llvm").iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "garbage", "object", "none"])
def test_damaged_files_are_compiled_again(compilations: list[str], own_cache: Path, damage: str) -> None:
    load(adds(201))
    engine._recent.clear()
    (path,) = (own_cache / "llvm").iterdir()
    whole = path.read_bytes()
    if damage == "object":  # a whole entry, whose content is no object of ours
        engine._cache_in(str(own_cache)).write(path.stem, b"no object")
    elif damage != "none":
        path.write_bytes({"cut": whole[:-1], "garbage": b"garbage"}[damage])
    assert call(load(adds(201)), "add", ctypes.c_int64, 1) == 202
    assert len(compilations) == (1 if damage == "none" else 2)
    assert path.read_bytes() == whole


def forget_versions() -> None:
    """Let keys be made anew."""
    engine._versions.cache_clear()
    engine._key.cache_clear()


@pytest.mark.parametrize("part", ["features", "version", "pipeline"])
def test_another_target_or_version_is_another_entry(
    compilations: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    load(adds(301))
    forget_versions()
    with monkeypatch.context() as patch:
        if part == "features":
            patch.setattr(engine, "host", lambda: here)
            here = Host(*[getattr(host(), name) for name in ("triple", "cpu")], host().features + ",", 16)
        elif part == "version":
            patch.setattr(native, "versions", lambda: ("0.0", "0"))
        else:
            patch.setattr(engine, "_PIPELINE", "0")
        load(adds(301))
    forget_versions()
    assert len(compilations) == 2
    assert len(list((own_cache / "llvm").iterdir())) == 2


def test_without_a_disk_cache(compilations: list[str], own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRADLOOM_CACHE_DIR", "off")
    load(adds(401))
    engine._recent.clear()
    assert call(load(adds(401)), "add", ctypes.c_int64, 1) == 402
    assert len(compilations) == 2
    assert not own_cache.exists()


def test_what_nobody_holds_is_unloaded() -> None:
    library = load(adds(501))
    serial = library._serial
    assert serial in engine._trackers
    engine._recent.clear()
    load(adds(502))
    assert serial in engine._trackers  # still held here
    del library
    engine._recent.clear()
    load(adds(503))
    assert serial not in engine._trackers


def test_few_libraries_are_kept_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    engine._recent.clear()
    monkeypatch.setattr(engine, "_KEEP", 5)
    held = len(engine._loaded)
    for i in range(20):
        load(adds(600 + i))
    assert len(engine._recent) == 5
    assert len(engine._loaded) == held + 5


def resident() -> int:
    """Return the bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory in use is read from /proc")
def test_loading_again_and_again_takes_no_memory() -> None:
    """A thousand times from memory, and a thousand times from disk."""
    for again in (lambda: None, engine._recent.clear):
        for i in range(1_300):
            if i == 300:
                before = resident()
            load(adds(701))
            again()
        assert resident() - before < 2**20


# --- threads, forks, the end ----------------------------------------------------------------------


def test_threads_load_the_same_and_others(compilations: list[str]) -> None:
    barrier = threading.Barrier(32)
    results: dict[int, list[Any]] = {}

    def work(number: int) -> None:
        barrier.wait()
        libraries = [load(adds(800 + (number + i) % 4)) for i in range(4)]
        results[number] = [
            call(library, "add", ctypes.c_int64, 1) == 801 + (number + i) % 4 for i, library in enumerate(libraries)
        ] + [libraries[i] is load(adds(800 + (number + i) % 4)) for i in range(4)]

    threads = [threading.Thread(target=work, args=(number,)) for number in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: [True] * 8 for number in range(32)}
    assert len(compilations) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_compiles(tmp_path: Path) -> None:
    """Also one that is forked while other threads compile."""
    script = """
import ctypes, os, threading, warnings
from gradloom_llvm import engine, native
warnings.simplefilter("ignore")
ir = "define i64 @f() nounwind {{\\n  ret i64 {}\\n}}\\n"
stop = threading.Event()
def compile_all_the_time(start):
    while not stop.is_set():
        engine.load(ir.format(start))
        start += 1
threads = [threading.Thread(target=compile_all_the_time, args=(10**6 * i,)) for i in (1, 2, 3)]
for thread in threads:
    thread.start()
for i in range(20):
    child = os.fork()
    if child == 0:
        code = engine.load(ir.format(i))
        os._exit(0 if ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("f"))() == i else 1)
    assert os.waitpid(child, 0)[1] == 0
stop.set()
for thread in threads:
    thread.join()
print("done")
"""
    assert python(script) == "done\n"


def test_processes_that_load_the_same_at_once(own_cache: Path) -> None:
    script = f"""
import ctypes
from gradloom_llvm import engine, native
for i in range(30):
    ir = {adds(12345)!r}.replace("12345", str(i))
    library = engine.load(ir)
    assert ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(library.address("add"))(1) == i + 1
"""
    processes = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0] * 4
    assert len(list((own_cache / "llvm").iterdir())) == 30


def test_a_killed_writer_harms_nobody(own_cache: Path) -> None:
    script = f"""
import os, signal
from gradloom_llvm import engine, native
os.replace = lambda *paths: os.kill(os.getpid(), signal.SIGKILL)
engine.load({adds(901)!r})
"""
    done = subprocess.run([sys.executable, "-c", script], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert call(load(adds(901)), "add", ctypes.c_int64, 1) == 902


def test_the_c_functions_are_those_of_llvmlite() -> None:
    """Types of results and arguments, by size and kind, as ``llvmlite.binding`` declares them."""
    script = """
import ctypes
from llvmlite import binding
from gradloom_llvm.native import FUNCTIONS

def kind(declared):
    if declared is None or declared is ctypes.c_int:
        return "int"
    if issubclass(declared, (ctypes._Pointer, ctypes.c_void_p, ctypes.c_char_p)):
        pointed = getattr(declared, "_type_", None)
        return "text" if pointed is ctypes.c_char_p else "pointer"
    return declared.__name__

for name, (result, *arguments) in FUNCTIONS.items():
    theirs = getattr(binding.ffi.lib, "LLVMPY_" + name)
    if theirs.argtypes is not None or not arguments:
        assert [kind(t) for t in theirs.argtypes or ()] == [kind(t) for t in arguments], name
        print(name)
    assert kind(theirs.restype) == kind(result) or result is ctypes.c_int, name
"""
    from gradloom_llvm.native import FUNCTIONS

    undeclared = {"DisposeString"}
    assert set(python(script).split()) == set(FUNCTIONS) - undeclared


def test_importing_the_engine_loads_no_llvm() -> None:
    script = "import sys, gradloom_llvm.engine, gradloom_llvm.entry; print('llvmlite' in sys.modules)"
    assert python(script) == "False\n"
