"""The limit on threads of BLAS libraries."""

from __future__ import annotations

import subprocess
import sys

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
