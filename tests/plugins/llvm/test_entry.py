"""Builtins made of native functions: calls, errors, what they read of Python's objects, and their lives."""

from __future__ import annotations

import ctypes
import gc
import subprocess
import sys
import threading
import time
import timeit
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from gradloom_llvm import engine, entry
from gradloom_llvm.engine import CompileError, load
from gradloom_llvm.entry import builtin, object_layout, opening, prelude, unavailable

ALIGNED, WRITEABLE, CONTIGUOUS = 256, 1024, 1
MESSAGE = '@message = private constant [8 x i8] c"expects\\00"\n'
NONE = "  %none = call ptr @none()\n  ret ptr %none\n}\n"


def compiled(body: str, arity: int, **names: str) -> Callable[..., Any]:
    """Return a builtin; `body` follows `opening`."""
    return builtin(load(prelude() + MESSAGE + opening("f", arity) + body), "f", **names)


def summing(count: int) -> Callable[..., Any]:
    """Return a builtin that stores the sum of the first elements of its arrays in the first."""
    lines, total = [], "0.0"
    for i in range(count):
        lines.append(f"""
  %fits{i} = call i1 @is_array(ptr %arg{i}, i32 12, i32 1, i32 {ALIGNED | CONTIGUOUS | WRITEABLE})
  br i1 %fits{i}, label %next{i}, label %unfit
next{i}:
  %data{i} = call ptr @array_data(ptr %arg{i})
  %x{i} = load double, ptr %data{i}
  %sum{i} = fadd double {total}, %x{i}""")
        total = f"%sum{i}"
    end = "unfit:\n  %null = call ptr @raise_type_error(ptr @message)\n  ret ptr %null\n}\n"
    return compiled("".join(lines) + f"\n  store double {total}, ptr %data0\n" + NONE.rstrip("}\n") + "\n" + end, count)


# --- calls --------------------------------------------------------------------------------------


def test_python_objects_are_readable_here() -> None:
    assert unavailable() is None


def test_a_builtin_is_called() -> None:
    f = compiled(NONE, 0, name="nothing", doc="Do nothing.")
    assert f() is None
    assert (f.__name__, f.__doc__) == ("nothing", "Do nothing.")
    assert type(f) is type(len)


def test_wrong_calls_raise() -> None:
    f = compiled(NONE, 2)
    for arguments in ((), (1,), (1, 2, 3), tuple(range(1000))):
        with pytest.raises(TypeError, match=f"expected 2 positional arguments, got {len(arguments)}"):
            f(*arguments)
    with pytest.raises(TypeError, match="takes no keyword arguments"):
        f(1, x=2)
    assert f(1, 2) is None


def test_an_unknown_symbol_raises() -> None:
    with pytest.raises(CompileError, match="no function 'g'"):
        builtin(load(prelude() + opening("f", 0) + NONE), "g")


def test_errors_are_raised_from_native_code() -> None:
    for kind, error in (("type", TypeError), ("value", ValueError)):
        f = compiled(f"  %null = call ptr @raise_{kind}_error(ptr @message)\n  ret ptr %null\n}}\n", 0)
        for _ in range(3):
            with pytest.raises(error, match=r"^expects$"):
                f()


def test_a_call_is_cheap() -> None:
    """Eight arrays, all checked: 100 ns on a quiet machine, compared here with calls of Python's own builtins."""
    f, arrays = summing(8), [np.ones(3) for _ in range(8)]
    names = {"f": f, "arrays": arrays, "hypot": __import__("math").hypot, "floats": [1.0] * 8}
    ours, theirs = (
        min(timeit.repeat(call, globals=names, number=2_000, repeat=15)) for call in ("f(*arrays)", "hypot(*floats)")
    )
    assert ours < 4 * theirs


# --- reading ------------------------------------------------------------------------------------


ARRAYS = {
    "contiguous": np.zeros((3, 4)),
    "fortran": np.zeros((3, 4), order="F"),
    "strided": np.zeros((6, 8))[::2, ::-2],
    "broadcast": np.broadcast_to(np.zeros(4), (3, 4)),
    "empty": np.zeros((0, 4)),
    "unaligned": np.zeros(97, np.uint8)[1:].view(np.float64).reshape(3, 4),
    "float32": np.zeros((3, 4), np.float32),
    "int64": np.zeros((3, 4), np.int64),
    "bool": np.zeros((3, 4), bool),
    "complex": np.zeros((3, 4), complex),
    "swapped": np.zeros((3, 4), np.dtype(float).newbyteorder()),
    "scalar": np.zeros(()),
    "cube": np.zeros((2, 3, 4)),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_fields_of_arrays(name: str) -> None:
    """The fields, as native code reads them."""
    array = ARRAYS[name]
    fields = compiled(
        """
  %out = call ptr @array_data(ptr %arg1)
  %data = call ptr @array_data(ptr %arg0)
  %address = ptrtoint ptr %data to i64
  store i64 %address, ptr %out
  %rank = call i32 @array_rank(ptr %arg0)
  %wide = sext i32 %rank to i64
  %place1 = getelementptr i64, ptr %out, i64 1
  store i64 %wide, ptr %place1
  br label %loop
loop:
  %axis = phi i64 [ 0, %body ], [ %next, %store ]
  %more = icmp slt i64 %axis, %wide
  br i1 %more, label %store, label %end
store:
  %size = call i64 @array_size(ptr %arg0, i64 %axis)
  %stride = call i64 @array_stride(ptr %arg0, i64 %axis)
  %twice = mul i64 %axis, 2
  %third = add i64 %twice, 2
  %place2 = getelementptr i64, ptr %out, i64 %third
  store i64 %size, ptr %place2
  %place3 = getelementptr i64, ptr %place2, i64 1
  store i64 %stride, ptr %place3
  %next = add i64 %axis, 1
  br label %loop
end:
"""
        + NONE,
        2,
    )
    out = np.full(8, -1)
    fields(array, out)
    pairs = [number for pair in zip(array.shape, array.strides, strict=True) for number in pair]
    assert out[: 2 + len(pairs)].tolist() == [array.__array_interface__["data"][0], array.ndim, *pairs]


def returning(condition: str) -> Callable[..., Any]:
    """Return a builtin that returns None if `condition` of ``%arg0`` holds, and raises TypeError if not."""
    return compiled(
        f"  %fits = {condition}\n  br i1 %fits, label %yes, label %no\nyes:\n{NONE.rstrip('}' + chr(10))}\nno:\n"
        "  %null = call ptr @raise_type_error(ptr @message)\n  ret ptr %null\n}\n",
        1,
    )


def accepts(f: Callable[..., Any], argument: Any) -> bool:
    try:
        f(argument)
    except TypeError:
        return False
    return True


class Subclass(np.ndarray[Any, Any]):
    pass


@pytest.mark.parametrize("flags", [0, ALIGNED, WRITEABLE, CONTIGUOUS, ALIGNED | WRITEABLE | CONTIGUOUS])
def test_arrays_that_fit(flags: int) -> None:
    f = returning(f"call i1 @is_array(ptr %arg0, i32 {np.dtype(float).num}, i32 2, i32 {flags})")
    others = (None, 1.0, [1.0], "text", np.float64(1), ARRAYS["contiguous"].view(Subclass), object(), ctypes, 10**9)
    for name, array in ARRAYS.items():
        kept = array.flags.num & flags == flags
        assert accepts(f, array) == (kept and array.ndim == 2 and array.dtype == "=f8"), name
    for other in others:
        assert not accepts(f, other)


def test_scalars() -> None:
    doubles, singles = (1.5, np.float64(-0.0), float("nan"), float("inf")), (np.float32(2.5), np.float32("nan"))
    others = (1, True, 1j, None, np.int64(1), np.float16(1), np.zeros(()), "1")
    for kind, fitting, letter in (("float", doubles, "d"), ("float32", singles, "f")):
        fits = returning(f"call i1 @is_{kind}(ptr %arg0)")
        type_ = {"float": "double", "float32": "float"}[kind]
        store = compiled(
            f"  %x = call {type_} @{kind}_value(ptr %arg0)\n  %out = call ptr @array_data(ptr %arg1)\n"
            f"  store {type_} %x, ptr %out\n" + NONE,
            2,
        )
        for value in fitting:
            assert accepts(fits, value)
            out = np.zeros(1, letter)
            store(value, out)
            assert out.tobytes() == np.array([value], letter).tobytes()
        for other in (*others, *(singles if letter == "d" else doubles)):
            assert not accepts(fits, other)


def test_an_unknown_layout_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    true = object_layout()
    for field, offset in true.items():
        if field == "value":
            continue
        wrong = true | {field: offset + (4 if field in ("ndim", "flags", "type_num") else 8)}
        monkeypatch.setattr(entry, "object_layout", lambda wrong=wrong: wrong)
        reason = unavailable.__wrapped__()
        assert reason is not None, field
        assert field in reason
    monkeypatch.setattr(sys.implementation, "name", "pypy")
    assert "not for pypy" in str(unavailable.__wrapped__())


# --- lives --------------------------------------------------------------------------------------


def test_a_builtin_keeps_its_code() -> None:
    """Everything else dropped and collected, it still runs; dropped itself, it lets go of the code."""
    before = {id(library) for library in engine._recent.values()}
    f = compiled("  %x = add i64 1, 41\n" + NONE, 0)
    (library,) = (weakref.ref(library) for library in engine._recent.values() if id(library) not in before)
    engine._recent.clear()
    for i in range(70):  # more than share a linker
        compiled(f"  %x = add i64 1, {i}\n" + NONE, 0)()
        engine._recent.clear()
    gc.collect()
    assert library() is not None
    assert f() is None
    del f
    gc.collect()
    assert library() is None


def test_a_builtin_called_by_a_finaliser_in_a_cycle(capfd: pytest.CaptureFixture[str]) -> None:
    """The collector finalises the objects of a cycle in any order; the code must still be there."""
    called = []

    class Holder:
        def __init__(self) -> None:
            self.f = compiled("  %x = add i64 2, 40\n" + NONE, 0)
            self.cycle = self

        def __del__(self) -> None:
            for i in range(3):
                load(f"define void @other() nounwind {{\n  ret void\n}}\n; {i}")  # unloads what is forgotten
            called.append(self.f())

    for _ in range(20):
        Holder()
        engine._recent.clear()
    gc.collect()
    assert called == [None] * 20
    assert capfd.readouterr() == ("", "")


def test_a_builtin_called_while_python_exits() -> None:
    script = f"""
import atexit, os
from gradloom_llvm import engine, entry
class Last:
    def __init__(self): self.f = f
    def __del__(self, write=os.write): write(1, b"finaliser %a\\n" % self.f())
f = entry.builtin(engine.load(entry.prelude() + entry.opening("f", 0) + {NONE!r}), "f")
atexit.register(lambda: print("atexit", f(), flush=True))
import sys
sys.last = Last()
cycle = Last(); cycle.cycle = cycle
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(done.stdout.split("\n")) == ["", "atexit None", "finaliser None", "finaliser None"]


def test_a_million_calls_leak_nothing() -> None:
    f, arrays = summing(2), [np.ones(2), np.zeros(2)]
    wrong = [np.ones(2), 1.5]
    for _ in range(10):
        f(*arrays)
    counted = (f, None, *arrays, *wrong, np.ndarray, arrays[0].dtype)
    before = [sys.getrefcount(thing) for thing in counted]
    blocks = sys.getallocatedblocks()
    for _ in range(1_000_000):
        f(*arrays)
    for _ in range(10_000):
        with suppress(TypeError):
            f(*wrong)
    assert abs(sys.getallocatedblocks() - blocks) < 100
    changes = [after - earlier for after, earlier in zip(map(sys.getrefcount, counted), before, strict=True)]
    assert max(map(abs, changes)) <= 5


def test_other_threads_run_while_the_gil_is_released() -> None:
    """The function waits for a byte that only another Python thread can set."""
    f = compiled(
        """
  %data = call ptr @array_data(ptr %arg0)
  %size = call i64 @array_size(ptr %arg0, i64 0)
  %large = icmp ugt i64 %size, 1
  %state = call ptr @release_gil(i1 %large)
  br label %wait
wait:
  %byte = load atomic volatile i8, ptr %data seq_cst, align 1
  %set = icmp ne i8 %byte, 0
  br i1 %set, label %end, label %wait
end:
  call void @take_gil(ptr %state)
"""
        + NONE,
        1,
    )
    assert f(np.ones(1, np.uint8)) is None  # does not release it
    flag = np.zeros(2, np.uint8)

    def set_later() -> None:
        time.sleep(0.01)
        flag[0] = 1

    thread = threading.Thread(target=set_later)
    thread.start()
    assert f(flag) is None
    thread.join()
