"""Phases: which statements run together over the rows, and in which nests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gradloom_llvm.statements import Nest, Phase, Statement

if TYPE_CHECKING:
    from gradloom_llvm.scheme import Scheme


def find_phases(scheme: Scheme) -> list[Phase]:
    """Assign each statement the earliest phase in which its inputs are known."""
    times: dict[int, int] = {}
    by_time: dict[int, list[Statement]] = {}
    for s in scheme.statements:
        is_row = scheme.row in s.loop
        time = 1 if is_row else 0
        for j in s.inputs:
            if j in times:
                known = times[j]  # odd: a row phase
                if known % 2 and scheme.row not in scheme.values[j].labels:
                    known += 1
                time = max(time, known + (known % 2 != is_row))
        times[s.id] = time
        by_time.setdefault(time, []).append(s)
    last = max(by_time, default=0)
    # Sums over the rows of the last phase are combined in a single phase after it.
    if last % 2 and any([scheme.row not in scheme.values[s.id].labels for s in by_time[last]]):
        last += 1
    phases = [_phase(scheme, t, by_time.get(t, [])) for t in range(last + 1)]
    readers: dict[int, list[int]] = {}
    for s in scheme.statements:
        for j in s.inputs:
            readers.setdefault(j, []).append(s.id)
    for phase in phases:
        _sink(scheme, phase, readers)
    return phases


def _phase(scheme: Scheme, time: int, statements: Sequence[Statement]) -> Phase:
    phase = Phase(bool(time % 2))
    nest_of: dict[int, int] = {}
    reduced = set()
    for s in statements:
        earliest = 0
        tile = scheme.tiles.get(s.id) or scheme.turns.get(s.id)
        for j in s.inputs:
            if j in nest_of:
                same = phase.nests[nest_of[j]].loop == s.loop and j not in reduced
                earliest = max(earliest, nest_of[j] + (not same))
        for k in range(earliest, len(phase.nests)):
            if phase.nests[k].loop == s.loop and phase.nests[k].tile is tile is None:
                break
        else:
            k = len(phase.nests)
            phase.nests.append(Nest(s.loop, scheme.ordered(s.loop), tile))
        phase.nests[k].statements.append(s)
        nest_of[s.id] = k
        if s.combine:
            reduced.add(s.id)
    return phase


def _sink(scheme: Scheme, phase: Phase, readers: dict[int, list[int]]) -> None:
    """Move what only one later nest reads into it, where what it is computed from is stored anyway."""
    nests = phase.nests
    nest_of = {s.id: k for k, nest in enumerate(nests) for s in nest.statements}
    reduced = {s.id for nest in nests for s in nest.statements if s.combine}

    def is_stored(j: int, k: int) -> bool:
        return j not in nest_of or j in reduced or nest_of[j] != k or any([nest_of.get(u) != k for u in readers[j]])

    for k in range(len(nests) - 1, -1, -1):
        for s in reversed(list(nests[k].statements)):
            goals = {nest_of.get(u, -1) for u in readers.get(s.id, ())}
            if nests[k].tile is not None or s.combine or s.id in scheme.outputs or len(goals) != 1:
                continue
            goal = goals.pop()
            fits = goal > k and nests[goal].loop == s.loop and nests[goal].tile is None
            if fits and all([is_stored(j, k) for j in s.inputs]):
                nests[k].statements.remove(s)
                nests[goal].statements.insert(0, s)
                nest_of[s.id] = goal
    phase.nests = [nest for nest in nests if nest.statements]
