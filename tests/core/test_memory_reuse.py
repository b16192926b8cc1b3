"""Large arrays on memory that was used before."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gradloom import memory
from gradloom.memory import HUGE, LEAST, MOST, empty

FLOAT = np.dtype(np.float64)
SIZE = 2 * LEAST // 8


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_serves_again_when_nobody_holds_it() -> None:
    first = empty((SIZE,), FLOAT)
    place = address(first)
    del first
    assert address(empty((SIZE,), FLOAT)) == place


def test_memory_serves_smaller_arrays_down_to_half() -> None:
    """Models of different sizes, one after the other, need the memory of one."""
    large = 64 * SIZE + 8  # no other test has blocks of about that size
    place = address(empty((large,), FLOAT))
    half = empty((large // 2,), FLOAT)
    assert address(half) == place
    other = empty((large // 2,), FLOAT)
    assert address(other) != place
    del half, other
    assert address(empty((large // 3,), FLOAT)) != place


def test_an_ensemble_keeps_its_memory() -> None:
    """Arrays of many sizes that come again in turns: after the first turns, no block is new."""
    sizes = [SIZE * k // 4 for k in range(8, 24)]

    def turn() -> set[int]:
        return {address(array) for n in sizes for array in [empty((n,), FLOAT) for _ in range(3)]}

    turn()
    turn()  # what other tests left behind may have gone in the first one
    before = set(map(id, memory._pool.loans))
    turn()
    assert set(map(id, memory._pool.loans)) == before


@pytest.mark.parametrize(
    ("nbytes", "size"),
    [
        (LEAST, LEAST),
        (3 * LEAST + 8, 4 * LEAST),
        (HUGE, HUGE),
        (HUGE + 8, HUGE + LEAST),
        (8_000_000, 4 * HUGE),
        (4 * HUGE + 8, 4 * HUGE + LEAST),
    ],
)
def test_blocks_are_whole_huge_pages_where_that_adds_little(nbytes: int, size: int) -> None:
    """The ends of others are handed out in hundreds of small pages, each of which takes microseconds."""
    assert memory._block_size(nbytes) == size


@pytest.mark.parametrize("keep", ["array", "view", "view of a view", "buffer", "reshaped"])
def test_memory_that_is_held_is_left_alone(keep: str) -> None:
    array = empty((SIZE,), FLOAT)
    array[:] = 7.0
    kept = {
        "array": lambda x: x,
        "view": lambda x: x[10:20],
        "view of a view": lambda x: x[10:][::2][3:9],
        "buffer": memoryview,
        "reshaped": lambda x: x.reshape(2, -1).T,
    }[keep](array)
    place = address(array)
    del array
    gc.collect()
    other = empty((SIZE,), FLOAT)
    other[:] = 3.0
    assert address(other) != place
    assert np.all(np.asarray(kept) == 7.0)


@pytest.mark.parametrize("shape", [(), (0,), (3,), (SIZE,), (100, 1000), (7, 11, 13, 401)])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.bool_, np.complex128])
def test_arrays_are_like_those_of_numpy(shape: tuple[int, ...], dtype: type) -> None:
    array = empty(shape, np.dtype(dtype))
    assert (array.shape, array.dtype, type(array)) == (shape, np.dtype(dtype), np.ndarray)
    assert array.flags.c_contiguous
    assert array.flags.aligned
    assert array.flags.writeable
    array[...] = 1
    assert np.all(array == 1)


def test_kept_memory_is_bounded() -> None:
    arrays = [empty((MOST // 32,), FLOAT) for _ in range(12)]
    assert len({address(a) for a in arrays}) == 12
    assert memory._pool.bytes <= MOST
    del arrays
    others = [empty((MOST // 64 + 8 * k,), FLOAT) for k in range(12)]
    assert memory._pool.bytes <= MOST
    assert sum(loan.size for loan in memory._pool.loans) == memory._pool.bytes
    del others


INTERRUPT = """
    import os, signal, threading, time
    import numpy as np
    from gradloom.memory import empty

    signal.signal(signal.SIGINT, signal.default_int_handler)  # what runs in the background may ignore it
    threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
    d, x, start = np.dtype(float), np.ones((300, 300)), time.monotonic()
    try:
        while time.monotonic() - start < 20.0:
            y = empty(x.shape, d)
            np.matmul(x, x, out=y)
            del y
    except KeyboardInterrupt:
        print("interrupted")
"""


def test_an_interrupt_is_not_lost() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(INTERRUPT)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "interrupted\n"


def test_threads_do_not_share_an_array() -> None:
    barrier = threading.Barrier(8)

    def work(k: int) -> bool:
        barrier.wait()
        good = True
        for _ in range(200):
            array = empty((SIZE,), FLOAT)
            array[:] = k
            good &= bool(np.all(array == k))
        return good

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(8)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_writes_into_memory_of_its_own() -> None:
    array = empty((SIZE,), FLOAT)
    array[:] = 7.0
    pid = os.fork()
    if not pid:
        array[:] = 3.0
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert np.all(array == 7.0)


def test_repeated_use_needs_one_block() -> None:
    empty((SIZE,), FLOAT)
    before = memory._pool.bytes
    for _ in range(100):
        empty((SIZE,), FLOAT)
    assert memory._pool.bytes == before
