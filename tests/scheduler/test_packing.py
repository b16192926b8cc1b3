"""Arrays keep their layout on the way to another process, so that sums keep their bits."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import numpy as np
import pytest

from gradloom.testing.backends import assert_same_bits
from gradloom_dask.packing import Aligned, pack, unpack, writable

X = np.random.default_rng(0).normal(size=(7, 40, 33))
LAYOUTS = {
    "contiguous": X,
    "fortran": np.asfortranarray(X),
    "permuted": X.transpose(1, 0, 2),
    "rows": X[:, :-3],
    "columns": X[:, :, 2:],
    "steps": X[::2, ::3, ::4],
    "backward": X[::-1, :, ::-1],
    "repeated": np.broadcast_to(X[:, :1], X.shape),
    "permuted steps": X.transpose(2, 0, 1)[::2, ::-1],
    "vector": X[0, 0, ::2],
    "scalar": X[0, 0, 0, ...],
    "empty": X[:0, :, ::2],
    "one": X[:1, ::2, :1],
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_round_trip(name: str) -> None:
    """The same elements, the same sums to the bit, and the order of axes in memory."""
    x = LAYOUTS[name]
    y: Any = unpack(pickle.loads(pickle.dumps(pack(x))))
    assert_same_bits(np.ascontiguousarray(y), np.ascontiguousarray(x))
    assert y.flags.aligned
    for axis in [None, *range(x.ndim)]:
        assert_same_bits(np.asarray(np.sum(y, axis=axis)), np.asarray(np.sum(x, axis=axis)))
    assert np.sin(y).strides == np.sin(x).strides
    assert y.flags.c_contiguous == x.flags.c_contiguous
    assert y.flags.f_contiguous == x.flags.f_contiguous


def test_unaligned_memory_is_copied() -> None:
    """NumPy sums it in other portions."""
    x = np.frombuffer(bytes(3) + X.tobytes(), np.uint8)[3:].view(np.float64).reshape(X.shape)
    assert not x.flags.aligned
    assert unpack(x).flags.aligned
    assert_same_bits(np.asarray(unpack(x).sum()), np.asarray(X.sum()))


def test_arrays_arrive_aligned() -> None:
    """Also where the message that brings one puts it at an odd address, and where that sends it on."""
    value: Any = Aligned(X)
    for _ in range(2):
        buffers: list[pickle.PickleBuffer] = []
        data = pickle.dumps(value, protocol=5, buffer_callback=buffers.append)
        (content,) = [bytes(buffer) for buffer in buffers]
        value = pickle.loads(data, buffers=[memoryview(bytearray(3) + content)[3:]])
        assert value.data.flags.aligned
        assert sys.getsizeof(value) >= X.nbytes
    assert unpack(value) is value.data
    assert_same_bits(value.data, X)


def test_results_can_be_written_to() -> None:
    x = X.copy()
    assert writable(x) is x
    x.flags.writeable = False
    assert writable(x).flags.writeable
