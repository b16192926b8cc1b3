"""Phases: how a team runs a kernel phase by phase, those over rows in several threads; as IR text."""

from __future__ import annotations

from typing import Final

from gradloom_llvm.text import Struct

#: Where a team's mailbox has the address of ``run_phases``.
RUN_PHASES: Final = 1
#: Ranges of chunks for each thread: to take one costs a thread of a team nothing, unlike one of Python, and whoever
#: has none left waits for as long as one takes.
RANGES: Final = 8
#: A kernel and what it works on: ``rows`` has one bit for each phase, set if it runs over rows. The last two say what
#: runs now.
PHASES: Final = Struct(
    "Phases",
    "ptr kernel, ptr arrays, ptr numbers, ptr shared, ptr blocks, i64 bytes, "
    "i64 rows, i64 phases, i64 chunks, i64 ranges, i64 workers, "
    "i64 phase, i64 parts",
)

_RUN = """
define void @run_phases(ptr %mailbox, ptr %job) nounwind {
entry:
LOAD.PLAN
  br label %head
head:
  %phase = phi i64 [ 0, %entry ], [ %phase.next, %run ]
  %more = icmp slt i64 %phase, %phases
  br i1 %more, label %run, label %end
run:
  %bit = lshr i64 %rows, %phase
  %over.rows = trunc i64 %bit to i1
  %parts = select i1 %over.rows, i64 %ranges, i64 1
  %phase.place = PLACE.PHASE
  %parts.place = PLACE.PARTS
  store i64 %phase, ptr %phase.place
  store i64 %parts, ptr %parts.place
  call void @run_job(ptr %mailbox, ptr @chunk_range, ptr %job, i64 %parts, i64 %workers)
  %phase.next = add i64 %phase, 1
  br label %head
end:
  ret void
}
"""

#: What a range of chunks needs to know.
_RANGE: Final = ("kernel", "arrays", "numbers", "shared", "blocks", "bytes", "chunks", "phase", "parts")
_CHUNK_RANGE = """
define internal void @chunk_range(ptr %job, i64 %piece, i64 %worker) nounwind {
LOAD.RANGE
  %offset = mul i64 %bytes, %worker
  %block = getelementptr i8, ptr %blocks, i64 %offset
  %following = add i64 %piece, 1
  %a = mul i64 %chunks, %piece
  %b = mul i64 %chunks, %following
  %first = udiv i64 %a, %parts
  %last = udiv i64 %b, %parts
  call void %kernel(ptr %arrays, ptr %numbers, ptr %shared, ptr %block, i64 %phase, i64 %phase, i64 %first, i64 %last)
  ret void
}
"""


def source() -> str:
    """Return the IR of ``@run_phases(ptr %mailbox, ptr %job)``, which is to stand beside ``@run_job``."""
    run = _RUN.replace("LOAD.PLAN", PHASES.load("%job", ("rows", "phases", "ranges", "workers")))
    run = run.replace("PLACE.PHASE", PHASES.place("%job", "phase")).replace(
        "PLACE.PARTS", PHASES.place("%job", "parts")
    )
    return "\n".join([PHASES.definition(), run, _CHUNK_RANGE.replace("LOAD.RANGE", PHASES.load("%job", _RANGE))])
