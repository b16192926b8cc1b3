"""Write protection: wherever an interrupt comes, arrays can be written again afterwards."""

from __future__ import annotations

import dis
import sys
from collections.abc import Callable
from itertools import count
from typing import Any

import numpy as np

from gradloom import protection
from gradloom.protection import protect, release


class Interrupt(BaseException):
    """What the user's Ctrl-C raises, say."""


def interrupted(work: Callable[[], object], moment: int, functions: set[str]) -> bool:
    """Work, and interrupt some functions at one of the moments when Python may; return whether it came to that.

    Those are where a function begins, where a call in it has come back, and where a loop goes back.
    """
    left, last = moment, ""

    def at_instruction(frame: Any, event: str, arg: Any) -> Any:
        nonlocal left, last
        frame.f_trace_opcodes = True
        if event == "opcode":
            before, last = last, dis.opname[frame.f_code.co_code[frame.f_lasti]]
            left -= frame.f_code.co_name in functions and (before == "CALL" or last in ("RESUME", "JUMP_BACKWARD"))
            if left < 0:
                raise Interrupt
        return at_instruction

    def at_call(frame: Any, event: str, arg: Any) -> Any:
        return at_instruction(frame, event, arg) if frame.f_code.co_filename == protection.__file__ else None

    tracer = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 reports instructions if a frame asked before tracing begins
    sys.settrace(at_call)
    try:
        work()
    except Interrupt:
        return True
    finally:
        sys.settrace(tracer)
    return False


def test_interrupts_of_protect() -> None:
    """Other traces keep what they protect."""
    for moment in count():
        x, held, other = np.ones(9), list[Any](), list[Any]()
        view = x[1:]
        protect(x, other)
        came = interrupted(lambda h=held, v=view, x=x: (protect(v, h), protect(x, h)), moment, {"protect"})
        release(held)
        assert not x.flags.writeable
        release(other)
        assert x.flags.writeable
        assert view.flags.writeable
        if not came:
            break
    assert moment > 5


def test_interrupts_of_release() -> None:
    """From the first array on, whichever is released first."""
    for moment in count():
        for turn in (1, -1):
            x, held = np.ones(9), list[Any]()
            view = x[1:]
            for array in (x, view)[::turn]:
                protect(array, held)
            came = interrupted(lambda h=held: release(h), moment, {"_release", "_restore"})
            assert x.flags.writeable
            assert view.flags.writeable
            assert held == []
        if not came:
            break
    assert moment > 5


def test_what_cannot_be_written_stays_so() -> None:
    x, held = np.ones(9), list[Any]()
    x.flags.writeable = False
    protect(x, held)
    assert held == []
    release(held)
    assert not x.flags.writeable
