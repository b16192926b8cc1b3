"""Large arrays on memory that was used before."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gradloom import memory
from gradloom.memory import LEAST, MOST_IDLE, empty

FLOAT = np.dtype(np.float64)
SIZE = 2 * LEAST // 8


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def test_memory_serves_again_when_nobody_holds_it() -> None:
    first = empty((SIZE,), FLOAT)
    place = address(first)
    del first
    assert address(empty((SIZE,), FLOAT)) == place


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


def test_idle_memory_is_bounded() -> None:
    arrays = [empty((MOST_IDLE // 32,), FLOAT) for _ in range(12)]
    del arrays
    idle = sum(size for size, _ in memory._pool._returned) + sum(
        size * len(blocks) for size, blocks in memory._pool._idle.items()
    )
    assert 0 <= idle <= MOST_IDLE


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
def test_a_forked_child_writes_into_memory_of_its_own() -> None:
    array = empty((SIZE,), FLOAT)
    array[:] = 7.0
    pid = os.fork()
    if not pid:
        array[:] = 3.0
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert np.all(array == 7.0)


def test_no_loan_stays_on_the_books() -> None:
    gc.collect()
    before = len(memory._pool._loans)
    for _ in range(100):
        empty((SIZE,), FLOAT)
    assert len(memory._pool._loans) == before
