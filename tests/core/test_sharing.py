"""One kernel's work on several threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator

import pytest

from gradloom.sharing import allowed, cores, kernel_threads, share


@pytest.fixture(params=[1, 2, 5])
def threads(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """Threads that kernels may take, on a machine of many cores."""
    monkeypatch.setattr("gradloom.sharing.cores", lambda: 8)
    token = kernel_threads.set(request.param)
    yield request.param
    kernel_threads.reset(token)


def test_every_piece_is_done_once(threads: int) -> None:
    done: list[int] = []
    share(100, done.append)
    assert sorted(done) == list(range(100))


def test_no_more_threads_than_allowed(threads: int) -> None:
    seen = set()
    share(50, lambda k: (seen.add(threading.get_ident()), time.sleep(0.001)))  # type: ignore[func-returns-value]
    assert 1 <= len(seen) <= threads


def test_an_error_is_raised_and_ends_the_rest(threads: int) -> None:
    done: list[int] = []

    def work(k: int) -> None:
        if k == 3:
            raise ZeroDivisionError(k)
        done.append(k)
        time.sleep(0.001)

    with pytest.raises(ZeroDivisionError, match="3"):
        share(1000, work)
    assert len(done) < 1000
    share(4, done.append)  # the threads go on


def test_sharing_inside_a_shared_piece_ends(threads: int) -> None:
    done: list[tuple[int, int]] = []
    share(8, lambda k: share(8, lambda j: done.append((k, j))))
    assert sorted(done) == [(k, j) for k in range(8) for j in range(8)]


def test_context_goes_along(threads: int) -> None:
    """What limits BLAS, and how many threads a kernel may take, holds in the helping threads too."""
    seen = set()
    share(20, lambda k: (seen.add(kernel_threads.get()), time.sleep(0.001)))  # type: ignore[func-returns-value]
    assert seen == {threads}


def test_no_more_than_the_cores() -> None:
    assert 1 <= allowed() <= cores()
    token = kernel_threads.set(10_000)
    try:
        assert allowed() == cores()
    finally:
        kernel_threads.reset(token)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own() -> None:
    share(4, lambda k: None)
    pid = os.fork()
    if not pid:
        done: list[int] = []
        share(4, done.append)
        os._exit(0 if sorted(done) == [0, 1, 2, 3] else 1)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.01)
    os.kill(pid, 9)
    pytest.fail("the child hangs")
