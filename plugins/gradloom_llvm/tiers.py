"""Tiers: code that is compiled quickly at first, and well when it has run for as long as that takes.

Compiling well takes LLVM two to three times as long; the code then runs one to three times as fast, products of
matrices five times. Nobody knows how often a kernel will run. Who compiles well as soon as the quick code has run for
as long as that takes, never spends more than twice what he would had he known. Both tiers give the same bits: LLVM does
floating-point operations as they are written. What is compiled well may be other IR, that takes too long to write and
compile at first.
"""

from __future__ import annotations

import os
import threading
import warnings
from typing import Final, final
from weakref import WeakValueDictionary

from gradloom_llvm.engine import Library, Writer, begin, load, ready
from gradloom_llvm.jobs import LINKING, Job

__all__ = ["Code", "code"]

#: Seconds that compiling well takes for each line of IR, roughly. With 0 everything is compiled well at once.
SECONDS_A_LINE = 60e-6
#: What a run counts at least. Whoever runs something often goes on, and until there is better code each run takes a way
#: in that is some ten times as long as the direct one.
LEAST_SECONDS = 1e-3


@final
class _Turn:
    """Who is compiled well: one module at a time, so that the end of a process waits for one at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._job: Job[Library] | None = None

    def take(self, job: Job[Library]) -> bool:
        """Return whether a job shall begin: no other is on."""
        with self._lock:
            if self._job is not None and not self._job.done:
                return False
            self._job = job
            return True

    def after_fork(self) -> None:
        """Forget what no thread of a child will do."""
        self._lock = threading.Lock()
        self._job = None


_turn: Final = _Turn()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.after_fork)


@final
class Code:
    """The code of a module, the best that there is.

    Parameters
    ----------
    ir : str
        Compiling begins, quickly, unless the process or the disk has code that is compiled well.
    better : callable, optional
        Writes what is compiled in its place when it is compiled well: other IR of the same functions and results.
    """

    def __init__(self, ir: str, better: Writer | None = None) -> None:
        self._ir = ir
        #: Seconds to run until better code is worth its compilation.
        self._left = SECONDS_A_LINE * ir.count("\n")
        #: Whether there is no better code to come.
        self.final = not self._left or ready(ir, better)
        self._finish = begin(ir, better=better) if self.final else begin(_out_of_line(ir), quick=True)
        self._better = Job(lambda: load(ir, better=better))

    def library(self) -> Library:
        """Return the code; it is waited for. Who runs it must hold the library meanwhile."""
        return self._finish()

    def ran(self, seconds: float) -> None:
        """Count for how long the code ran; what `library` returns is better when it has been for long enough."""
        self._left -= max(seconds, LEAST_SECONDS)
        if self._left > 0 or self.final:
            return
        job = self._better
        alone = _turn.take(job) and not job.begin()
        if alone or job.done:
            self._take_over()

    def finish(self) -> None:
        """Wait until `library` returns the best code."""
        if not self.final:
            self._take_over()

    def _take_over(self) -> None:
        """Let `library` return what is compiled well."""
        try:
            library = self._better.result()
            self._finish = lambda: library
        except Exception as error:
            warnings.warn(f"what was compiled quickly cannot be compiled well: {error}", RuntimeWarning, stacklevel=3)
        self.final = True


def _out_of_line(ir: str) -> str:
    """Return IR in which functions are called where they would be inlined.

    Each is compiled once so, and not in each loop for whole vectors and again for the rest. Quick code runs no slower,
    and long loops twice as fast: LLVM would load all constants before them, and spill them for lack of registers.
    """
    return ir.replace(" alwaysinline ", " noinline ")


_codes: WeakValueDictionary[str, Code] = WeakValueDictionary()


def code(ir: str, better: Writer | None = None) -> Code:
    """Return the code of a module, the same object for the same text while it is in use."""
    with LINKING:
        found = _codes.get(ir)
        if found is None:
            found = _codes[ir] = Code(ir, better)
        return found
