"""The limit on threads of BLAS libraries."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_info, threadpool_limits

from gradloom.blas import one_thread_each

LOADED_INSIDE = """
from gradloom.blas import limit_new_libraries, one_thread_each
from threadpoolctl import threadpool_info, threadpool_limits

def threads():
    return [library["num_threads"] for library in threadpool_info()]

import numpy
threadpool_limits(3)
with one_thread_each():
    before = threads()
    import scipy.linalg
    limit_new_libraries()
    inside = threads()
threadpool_limits(3)
with one_thread_each():
    again = threads()
assert len(inside) > len(before), "SciPy's BLAS is NumPy's: nothing was loaded"
print(*before, "|", *inside, "|", *again, "|", *threads())
"""


def test_libraries_loaded_inside_of_a_limit_are_held_to_it() -> None:
    """SciPy brings a BLAS of its own, at any time."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED_INSIDE], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "1 | 1 1 | 1 1 | 3 3\n", done.stderr


def counts() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def test_any_thread_may_limit() -> None:
    """Whichever thread set a number before, and while it does."""

    def limited() -> set[int]:
        with one_thread_each():
            return counts()

    with ThreadPoolExecutor(1) as other, threadpool_limits(3):
        for _ in range(2):
            assert limited() == {1}
            assert counts() == {3}
            assert other.submit(limited).result() == {1}
            assert counts() == {3}
        with one_thread_each():
            assert other.submit(limited).result() == {1}
            assert counts() == {1}
