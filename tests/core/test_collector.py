"""The garbage collector rests while graphs are transformed, and is as before afterwards."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

import gradloom as gl
from gradloom.collector import resting_collector


def test_it_rests_and_starts_again() -> None:
    def fail() -> None:
        with resting_collector():
            with resting_collector():
                assert not gc.isenabled()
            assert not gc.isenabled()
            raise ZeroDivisionError

    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        fail()
    assert gc.isenabled()


def test_who_has_switched_it_off_finds_it_off() -> None:
    gc.disable()
    try:
        with resting_collector():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def resting_elsewhere() -> Callable[[], None]:
    """Let the collector rest in another thread; return what ends that."""
    inside, go = threading.Event(), threading.Event()

    def rest() -> None:
        with resting_collector():
            inside.set()
            assert go.wait(30)

    def end() -> None:
        go.set()
        other.join()

    other = threading.Thread(target=rest)
    other.start()
    assert inside.wait(30)
    return end


def test_threads_that_overlap_leave_it_on() -> None:
    """Whichever ends first."""
    for first_ends_first in (True, False):
        end = resting_elsewhere()
        with resting_collector():
            if first_ends_first:
                end()
        end()
        assert gc.isenabled()


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_meanwhile_has_a_collector() -> None:
    """The thread that would start it again is not there."""
    end = resting_elsewhere()
    assert not gc.isenabled()
    child = os.fork()
    if not child:
        os._exit(0 if gc.isenabled() else 1)
    end()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_transforms_of_graphs_are_not_interrupted_by_it() -> None:
    """A graph of 16,000 nodes would have it look a hundred times; the trace itself is the user's code."""

    def many(x: float) -> float:
        for _ in range(4000):
            x = x * 1.5 + x
        return x

    graph = gl.make_graph(gl.grad(many))(1.0)
    looks: list[int] = []
    gc.collect()
    gc.callbacks.append(lambda phase, info: looks.append(info["generation"]))
    try:
        gl.jit(graph)(1.0)
    finally:
        gc.callbacks.pop()
    assert len(looks) < 40


SETTLE = """
import gc
if {frozen}:
    gc.freeze()
import gradloom.collector as collector
collections = []
gc.callbacks.append(lambda phase, info: collections.append(info["generation"]))
before = gc.get_freeze_count()
kept = []
for _ in range(2):
    collections.clear()
    with collector.resting_collector():
        kept += [[] for _ in range(4 * collector.MANY)]
    more = [[] for _ in range(10)]
    print(len(collections), gc.get_freeze_count() {left} before, gc.isenabled())
gc.collect()
"""


@pytest.mark.parametrize("frozen", [False, True])
def test_what_the_first_rest_leaves_is_not_looked_through(frozen: bool) -> None:
    """A later one's is; what the user has frozen stays frozen, and then nothing is moved."""
    left = "==" if frozen else "<="  # Python 3.12 freezes some of its own, and again what it finds thawed
    command = [sys.executable, "-c", SETTLE.format(frozen=frozen, left=left)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (first, *states), (second, *later) = [line.split() for line in done.stdout.splitlines()]
    assert (first == "0") is not frozen
    assert second != "0"
    assert states == later == ["True", "True"]


def test_cycles_among_what_was_moved_are_found() -> None:
    """The collector looks through the old ones when it looks through all."""
    code = """
import gc, weakref
import gradloom.collector as collector
class Cycle:
    pass
one = Cycle()
one.own = one
seen = weakref.ref(one)
with collector.resting_collector():
    kept = [[] for _ in range(4 * collector.MANY)]
del one
gc.collect()
print(seen() is None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["True"]
