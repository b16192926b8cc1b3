"""Team: threads that wait in native code for pieces of a kernel's work, and take them without Python's lock.

A thread that sleeps is woken in 50 to 100 us, longer than many kernels run. So a helper that has no work left looks out
for more during about that time, then sleeps. Pieces are cut by size alone and each writes results of its own: which
thread takes which, and whether any helper comes at all, changes no bits.

One job is worked on at a time. Whoever finds the team busy does its pieces alone.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from functools import cache
from typing import Any, Final, final

import numpy as np

from gradloom.sharing import keep_off_this_core
from gradloom_llvm import phase_code
from gradloom_llvm.engine import Library, host, load
from gradloom_llvm.entry import CLOSING, builtin, opening, prelude
from gradloom_llvm.jobs import Job
from gradloom_llvm.phase_code import RANGES, RUN_PHASES

#: Words of the mailbox, each on a line of the cache of its own: the address of ``run_job``, and beside it that of
#: ``run_phases``; generation and pieces left in one; pieces done; whether somebody has the team; the job; whether to
#: go home.
RUN_JOB, TICKET, DONE, BUSY, JOB, STOP = range(0, 48, 8)
#: Seconds that a helper looks out for work before it sleeps.
LOOK_SECONDS: Final = 100e-6


@final
class Team:
    """Helpers of this process, started at first use; a child of a fork has its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._helpers: list[_Helper] = []
        self._mailbox: np.ndarray[Any, Any] | None = None

    def mailbox(self, workers: int) -> np.ndarray[Any, Any]:
        """Return what native code hands jobs over by, with helpers up and about.

        Parameters
        ----------
        workers : int
            Threads that are to work, with the calling one.
        """
        with self._lock:
            if self._mailbox is None:
                self._mailbox = _new_mailbox()
                atexit.register(self.stop)
            self._get_up(workers - 1, self._mailbox)
            return self._mailbox

    def _get_up(self, count: int, mailbox: np.ndarray[Any, Any]) -> None:
        while len(self._helpers) < count:
            self._helpers.append(_Helper(self._lock, mailbox, len(self._helpers)))
        for helper in self._helpers[:count]:
            if helper.asleep:
                helper.wake()

    def stop(self) -> None:
        """Let the helpers end."""
        with self._lock:
            helpers, self._helpers = self._helpers, []
            if self._mailbox is not None:
                self._mailbox[STOP] = 1
            self._mailbox = None
        deadline = time.monotonic() + 1.0
        while any([helper.is_alive() for helper in helpers]) and time.monotonic() < deadline:
            for helper in helpers:
                with self._lock:
                    if helper.asleep:
                        helper.wake()
                helper.join(0.001)


@final
class _Helper(threading.Thread):
    """A thread that takes pieces, and sleeps when there have been none for a while."""

    def __init__(self, lock: threading.Lock, mailbox: np.ndarray[Any, Any], index: int) -> None:
        super().__init__(name=f"gradloom-team-{index}", daemon=True)
        self._lock = lock
        self._mailbox = mailbox
        self._index = index
        self._bell = threading.Lock()
        self._bell.acquire()
        self.asleep = False
        self.start()

    def wake(self) -> None:
        """Ring the bell; the team's lock is held, and the thread asleep."""
        self.asleep = False
        keep_off_this_core(self.native_id)
        self._bell.release()

    def run(self) -> None:
        """Take pieces until the team ends."""
        mailbox, serve = self._mailbox, _native("serve")
        own = np.array([self._index, _looks()], np.int64)
        while not mailbox[STOP]:
            serve(mailbox, own)
            with self._lock:
                # A job may have come since the last look, when nobody knew that the bell must be rung.
                self.asleep = sleeps = not (mailbox[TICKET] & 0xFFFFFFFF or mailbox[STOP])
            if sleeps:
                self._bell.acquire()


@cache
def _looks() -> int:
    """Return how many looks a helper takes in its time; how long one takes varies tenfold between processors."""
    trial, nothing, took = 1000, np.zeros(64, np.int64), []
    for _ in range(3):
        start = time.perf_counter()
        _native("serve")(nothing, np.array([0, trial], np.int64))
        took.append(time.perf_counter() - start)
    return max(1, int(trial * LOOK_SECONDS / min(took)))


team: Final = Team()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=team.__init__)


def run_chunks(
    kernel: int,
    arguments: tuple[int, int],
    workspace: tuple[int, int, int],
    phases: tuple[int, int],
    chunks: int,
    workers: int,
) -> None:
    """Run all phases of a kernel; those over rows by a team.

    Parameters
    ----------
    kernel : int
        Its address.
    arguments : tuple of int
        Addresses of the pointers to its arrays, and of its numbers.
    workspace : tuple of int
        Address, and bytes: what all threads share, then what each has.
    phases : tuple of int
        One bit for each, set if it runs over rows; and how many there are, at most 63.
    chunks, workers : int
        How many chunks of rows there are, and how many threads may take them.
    """
    start, shared, own = workspace
    ranges = min(chunks, RANGES * workers)
    words = [kernel, *arguments, start, start + shared, own, *phases, chunks, ranges, workers, 0, 0]
    _native("run_chunks")(team.mailbox(workers), np.array(words, np.int64))


def _new_mailbox() -> np.ndarray[Any, Any]:
    words = np.zeros(64, np.int64)
    first = -(words.ctypes.data // 8) % 8  # to a line of the cache
    mailbox = words[first : first + 48]
    mailbox[RUN_JOB] = CODE.result().address("run_job")
    mailbox[RUN_PHASES] = CODE.result().address("run_phases")
    return mailbox


#: What compiles the team's code; begun for kernels that will need it.
CODE: Final[Job[Library]] = Job(lambda: load(source(host().triple), quick=True))


@cache
def _native(name: str) -> Any:
    return builtin(CODE.result(), name)


def source(triple: str) -> str:
    """Return the IR for a machine."""
    if triple.startswith(("aarch64", "arm64")):
        pause = "call void @llvm.aarch64.hint(i32 1)"
        declaration = "declare void @llvm.aarch64.hint(i32)"
    else:
        pause, declaration = "call void @llvm.x86.sse2.pause()", "declare void @llvm.x86.sse2.pause()"
    yields = "windows" not in triple
    text = "\n".join(
        [
            prelude(),
            declaration,
            "declare i32 @sched_yield()" if yields else "",
            _RUN_JOB,
            opening("serve", 2),
            _SERVE,
            phase_code.source(),
            opening("run_chunks", 2),
            _RUN_CHUNKS,
        ]
    )
    text = text.replace("PAUSE", pause).replace("YIELD", "%yielded = call i32 @sched_yield()" if yields else pause)
    for name, place in (("TICKET", TICKET), ("DONE", DONE), ("BUSY", BUSY), ("JOB", JOB), ("STOP", STOP)):
        text = text.replace(f"AT.{name}", f"getelementptr i64, ptr %mailbox, i64 {place}")
    return text.replace("NUMBER", str(np.dtype(np.int64).num))


#: A job's words: the function, its argument, how many helpers may come. The ticket holds a generation in its upper
#: half, so that a piece is only ever claimed of the job that was looked at; a job ends when all its pieces are done.
#: Worker 0 is whose job it is.
_RUN_JOB = """
define internal i1 @take_piece(ptr %mailbox, i64 %worker) nounwind {
entry:
  %ticket = AT.TICKET
  %done = AT.DONE
  %job = AT.JOB
  %job.argument = getelementptr i64, ptr %job, i64 1
  %job.limit = getelementptr i64, ptr %job, i64 2
  br label %look
look:
  %seen = load atomic i64, ptr %ticket acquire, align 8
  %left = and i64 %seen, 4294967295
  %any = icmp ne i64 %left, 0
  %limit = load atomic i64, ptr %job.limit monotonic, align 8
  %wanted = icmp sle i64 %worker, %limit
  %go = and i1 %any, %wanted
  br i1 %go, label %claim, label %none
claim:
  %piece = sub i64 %left, 1
  %less = sub i64 %seen, 1
  %swapped = cmpxchg ptr %ticket, i64 %seen, i64 %less acq_rel monotonic
  %claimed = extractvalue { i64, i1 } %swapped, 1
  br i1 %claimed, label %take, label %look
take:
  %work = load ptr, ptr %job
  %argument = load ptr, ptr %job.argument
  call void %work(ptr %argument, i64 %piece, i64 %worker)
  %before = atomicrmw add ptr %done, i64 1 release
  ret i1 true
none:
  ret i1 false
}
define void @run_job(ptr %mailbox, ptr %work, ptr %argument, i64 %count, i64 %workers) nounwind {
entry:
  %ticket = AT.TICKET
  %done = AT.DONE
  %busy = AT.BUSY
  %job = AT.JOB
  %several = icmp sgt i64 %workers, 1
  %pieces = icmp sgt i64 %count, 1
  %sharing = and i1 %several, %pieces
  br i1 %sharing, label %try, label %alone
try:
  %got = cmpxchg ptr %busy, i64 0, i64 1 acquire monotonic
  %free = extractvalue { i64, i1 } %got, 1
  br i1 %free, label %publish, label %alone
alone:
  %piece = phi i64 [ 0, %entry ], [ 0, %try ], [ %piece.next, %one ]
  %more = icmp slt i64 %piece, %count
  br i1 %more, label %one, label %end
one:
  call void %work(ptr %argument, i64 %piece, i64 0)
  %piece.next = add i64 %piece, 1
  br label %alone
publish:
  %job.argument = getelementptr i64, ptr %job, i64 1
  %job.limit = getelementptr i64, ptr %job, i64 2
  %limit = sub i64 %workers, 1
  store ptr %work, ptr %job
  store ptr %argument, ptr %job.argument
  store atomic i64 %limit, ptr %job.limit monotonic, align 8
  store atomic i64 0, ptr %done monotonic, align 8
  %old = load atomic i64, ptr %ticket monotonic, align 8
  %generation = lshr i64 %old, 32
  %following = add i64 %generation, 1
  %upper = shl i64 %following, 32
  %new = or i64 %upper, %count
  store atomic i64 %new, ptr %ticket release, align 8
  br label %look
look:
  %took = call i1 @take_piece(ptr %mailbox, i64 0)
  br i1 %took, label %look, label %wait
wait:
  %waited = phi i64 [ 0, %look ], [ %waited.next, %pause ], [ %waited.next, %yield ]
  %ended = load atomic i64, ptr %done acquire, align 8
  %all = icmp eq i64 %ended, %count
  br i1 %all, label %leave, label %on
on:
  %waited.next = add i64 %waited, 1
  %long = icmp ugt i64 %waited, 5000
  br i1 %long, label %yield, label %pause
pause:
  PAUSE
  br label %wait
yield:
  YIELD
  br label %wait
leave:
  store atomic i64 0, ptr %busy release, align 8
  ret void
end:
  ret void
}
@gradloom.misfit = private constant [41 x i8] c"expected a mailbox and an array of int64\\00"
"""

_SERVE = (
    """
  %fits.mailbox = call i1 @is_array(ptr %arg0, i32 NUMBER, i32 1, i32 1281)
  %fits.own = call i1 @is_array(ptr %arg1, i32 NUMBER, i32 1, i32 257)
  %fits = and i1 %fits.mailbox, %fits.own
  br i1 %fits, label %ready, label %misfit
ready:
  %mailbox = call ptr @array_data(ptr %arg0)
  %own = call ptr @array_data(ptr %arg1)
  %index = load i64, ptr %own
  %looks.place = getelementptr i64, ptr %own, i64 1
  %looks = load i64, ptr %looks.place
  %worker = add i64 %index, 1
  %stop = AT.STOP
  %state = call ptr @release_gil(i1 true)
  br label %look
look:
  %looked = phi i64 [ 0, %ready ], [ 0, %look ], [ %looked.next, %pause ]
  %took = call i1 @take_piece(ptr %mailbox, i64 %worker)
  br i1 %took, label %look, label %idle
idle:
  %looked.next = add i64 %looked, 1
  %enough = icmp uge i64 %looked.next, %looks
  %stopped = load atomic i64, ptr %stop monotonic, align 8
  %home = icmp ne i64 %stopped, 0
  %over = or i1 %enough, %home
  br i1 %over, label %end, label %pause
pause:
  PAUSE
  br label %look
end:
  call void @take_gil(ptr %state)"""
    + CLOSING
)

#: Called from Python, with a job's words.
_RUN_CHUNKS = (
    """
  %fits.mailbox = call i1 @is_array(ptr %arg0, i32 NUMBER, i32 1, i32 1281)
  %fits.job = call i1 @is_array(ptr %arg1, i32 NUMBER, i32 1, i32 1281)
  %fits = and i1 %fits.mailbox, %fits.job
  br i1 %fits, label %ready, label %misfit
ready:
  %mailbox = call ptr @array_data(ptr %arg0)
  %job = call ptr @array_data(ptr %arg1)
  %state = call ptr @release_gil(i1 true)
  call void @run_phases(ptr %mailbox, ptr %job)
  call void @take_gil(ptr %state)"""
    + CLOSING
)
