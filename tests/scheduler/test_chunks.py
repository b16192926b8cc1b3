"""Chunked data: value and gradient of dask arrays come back lazily, and are those of NumPy."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from typing import Any

import dask
import dask.array as da
import dask.callbacks
import numpy as np
import pytest

import gradloom as gl
from gradloom.errors import ArgumentError
from gradloom.plan import Plan
from gradloom.split import SplitError, split
from gradloom.testing.backends import assert_same_bits
from gradloom_dask.place import workers_of

RNG = np.random.default_rng(0)
X = RNG.normal(size=(1003, 7))
Y = (RNG.random(1003) > 0.5).astype(float)
W = (RNG.normal(size=7), 0.3)
LAYERS = (RNG.normal(size=(7, 5)), RNG.normal(size=5), RNG.normal(size=(5, 2)), RNG.normal(size=2))
DX, DY = da.from_array(X, chunks=(100, 3)), da.from_array(Y, chunks=200)


def logistic(params: Any, x: Any, y: Any) -> Any:
    w, b = params
    z = x @ w + b
    return np.mean(np.logaddexp(0.0, z) - y * z)


def mlp(params: Any, x: Any, y: Any) -> Any:
    a, b, c, d = params
    out = np.tanh(x @ a + b) @ c + d
    return np.mean((out[:, 0] - y) ** 2) + 1e-3 * np.sum(a**2)


def variance(params: Any, x: Any, y: Any) -> Any:
    """Return what needs a second pass: the samples need a sum over all of them."""
    z = x @ params[0]
    return np.sqrt(np.mean((z - np.mean(z)) ** 2)) + params[1]


def standardised(params: Any, x: Any, y: Any) -> Any:
    """Three passes for the value, more for the gradient."""
    z = x - np.mean(x, axis=0)
    z = z / np.sqrt(np.mean(z**2, axis=0))
    return logistic(params, z, y)


def reductions(params: Any, x: Any, y: Any) -> Any:
    """Return sums with a maximum and a product over the samples, without gradient through those."""
    z = x @ params[0]
    return np.sum(z) + gl.stop_gradient(np.max(z) + np.min(z) + np.prod(1.0 + 1e-3 * y)) + params[1]


CASES = [(logistic, W), (mlp, LAYERS), (variance, W), (standardised, W), (reductions, W)]


@pytest.mark.parametrize(("f", "params"), CASES, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("y", [DY, Y], ids=["chunked", "whole"])
def test_value_and_gradient(f: Any, params: Any, y: Any) -> None:
    """As on NumPy arrays; the same bits from every scheduler of dask."""
    lazy = gl.value_and_grad(f)(params, DX, y)
    assert isinstance(lazy[0], da.Array)
    value, grads = dask.compute(*lazy, scheduler="threads")
    expected, others = gl.value_and_grad(f)(params, X, Y)
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    for one, other in zip(grads, others, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-14)
    again = dask.compute(*gl.value_and_grad(f)(params, DX, y), scheduler="sync")
    assert_same_bits(np.asarray(again[0]), np.asarray(value))
    for one, other in zip(again[1], grads, strict=True):
        assert_same_bits(np.asarray(one), np.asarray(other))


def test_gradient_with_respect_to_the_data() -> None:
    """It has the chunks of the data."""
    gradient = gl.grad(lambda x: logistic(W, x, DY))(DX)
    assert gradient.chunks[0] == DX.chunks[0]
    np.testing.assert_allclose(gradient.compute(), gl.grad(lambda x: logistic(W, x, Y))(X), rtol=1e-12)


def test_closed_over_and_jitted() -> None:
    """Data that the function closes over, and a gradient traced once."""
    got = gl.grad(lambda w: logistic((w, 0.3), DX, DY))(W[0]).compute()
    np.testing.assert_allclose(got, gl.grad(lambda w: logistic((w, 0.3), X, Y))(W[0]), rtol=1e-12)
    fast = gl.jit(gl.grad(logistic))
    for _ in range(2):
        np.testing.assert_allclose(fast(W, DX, DY)[0].compute(), got, rtol=1e-15)


def test_one_chunk() -> None:
    """Nothing to cut: one task."""
    value = gl.value_and_grad(logistic)(W, da.from_array(X, chunks=-1), Y)[0]
    assert value.compute() == logistic(W, X, Y)


def test_whole_results_are_given_as_they_are() -> None:
    """dask adds no task that copies them; yet nobody else holds them, and order and kind are those of any array."""
    value, (gw, gb) = gl.value_and_grad(logistic)(W, DX, DY)
    seen: list[str] = []
    with dask.callbacks.Callback(pretask=lambda key, graph, state: seen.append(str(key))):
        found = dask.compute(value, DY.sum(), gw, gw + 1.0, gb)
    assert [key for key in seen if "gradloom-out" in key and "finalize" in key] == []
    expected, others = gl.value_and_grad(logistic)(W, X, Y)
    for one, other in zip(found, (expected, Y.sum(), others[0], others[0] + 1.0, others[1]), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10)
    kept = gw.persist()
    kept.compute()[:] = 0.0
    np.testing.assert_array_equal(kept.compute(), found[2])


def test_data_is_read_once() -> None:
    """Each chunk is loaded by one task, for value and gradients together."""
    loads: list[int] = []

    def load(block: Any, block_info: Any = None) -> Any:
        loads.append(block_info[0]["chunk-location"][0])
        return block

    source = da.from_array(X, chunks=(100, 7)).map_blocks(load, dtype=float, meta=np.empty((0, 0)))
    loads.clear()
    dask.compute(*gl.value_and_grad(logistic)(W, source, Y), scheduler="sync")
    assert sorted(loads) == list(range(11))


def test_values_on_demand() -> None:
    """A branch on chunked data computes what it needs."""

    def f(w: Any) -> Any:
        z = np.sum(DX @ w)
        return z if z > 0 else -z

    np.testing.assert_allclose(gl.grad(f)(W[0]).compute(), np.sign(np.sum(X @ W[0])) * X.sum(0), rtol=1e-10)


@pytest.mark.parametrize(
    ("f", "why"),
    [
        (lambda x: np.sum(np.sort(x, axis=0)), "needs the axis whole"),
        (lambda x: np.sum(np.cumsum(x, axis=0) ** 2), "needs the axis whole"),
        (lambda x: np.sum(x @ x.T), "has the axis twice"),
        (lambda x: np.sum(x[1:]), "needs the axis whole"),
        # Where the result meets the data again, its axis runs with the samples too.
        (lambda x: np.sum(x * np.cumsum(x, axis=0)), "cumsum: .* needs the axis whole"),
        (lambda x: np.sum(x * np.cumsum(np.sum(x, axis=1, keepdims=True), axis=0)), "cumsum: .* needs the axis whole"),
        (lambda x: np.sum(x * np.cumprod(1.0 + x / 100.0, axis=0)), "cumprod: .* needs the axis whole"),
        (lambda x: np.sum(x * np.sort(x, axis=0)), "needs the axis whole"),
        (lambda x: np.sum(x * np.argsort(x, axis=0)), "argsort: .* needs the axis whole"),
        (lambda x: np.sum(x * np.flip(x)), "flip: .* needs the axis whole"),
        (lambda x: np.sum(x * x[::-1]), "needs the axis whole"),
        (lambda x: np.sum(x * np.roll(x, 1, axis=0)), "needs the axis whole"),
        (lambda x: np.sum(np.tril(x @ x[:7].T) * x), "needs the axis whole|meets the axis"),
        (lambda x: np.prod(1.0 + x / 100.0), "cumprod: .* needs the axis whole"),  # its gradient does
        (lambda x: np.sum(x * np.prod(1.0 + x / 100.0, axis=0)), "cumprod: .* needs the axis whole"),
    ],
)
def test_what_cannot_be_cut(f: Any, why: str) -> None:
    """It is refused, with op and line, not computed wrongly."""
    with pytest.raises(SplitError, match=why) as raised:
        gl.value_and_grad(f)(DX)
    assert __file__ in str(raised.value)


def test_ops_along_another_axis_are_cut() -> None:
    """What needs an axis whole may run along the others."""

    def f(x: Any) -> Any:
        y = np.cumsum(x, axis=1) * np.sort(gl.stop_gradient(x), axis=1) + np.flip(x, axis=1) * np.cumprod(x, axis=1)
        return np.sum(y * x) + np.sum(np.prod(x, axis=1)) + np.sum(np.argsort(x, axis=1) * x[:, ::-1])

    for one, other in zip(dask.compute(*gl.value_and_grad(f)(DX)), gl.value_and_grad(f)(X), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)


PLACES = np.argsort(RNG.random(X.shape), axis=1)[:, :3]


@pytest.mark.parametrize(
    "f",
    [
        lambda x, i: np.sum(np.sort(x, axis=1) ** 2 * np.arange(7.0)),
        lambda x, i: np.sum(np.take_along_axis(x, i, axis=1) ** 2),
        lambda x, i: np.sum(np.take_along_axis(x, i // 2, axis=1) ** 3),
        lambda x, i: np.sum(np.take_along_axis(x, np.argsort(-x, axis=1), axis=1) ** 2 * np.arange(7.0)),
        lambda x, i: np.sum((x - np.median(x, axis=1, keepdims=True)) ** 2),
        lambda x, i: np.sum(np.quantile(x, [0.3, 0.71], axis=1) ** 3),
        lambda x, i: np.sum(np.nanquantile(x, 0.4, axis=1) ** 2),
        lambda x, i: np.mean(np.mean(np.sort(x, axis=1)[:, 1:-1], axis=1) ** 2),
        lambda x, i: np.mean(np.median(np.abs(x - np.median(x, axis=1, keepdims=True)), axis=1)),
    ],
)
def test_each_chunk_sorts_its_own_rows(f: Any) -> None:
    """Along an axis of one chunk; the value is NumPy's, the gradient has the slopes of NumPy's values."""
    value, gradient = dask.compute(*gl.value_and_grad(f)(DX, da.from_array(PLACES, chunks=(100, 3))))
    np.testing.assert_allclose(value, f(X, PLACES), rtol=1e-12)
    direction, step = np.random.default_rng(1).normal(size=X.shape), 1e-6
    slope = (f(X + step * direction, PLACES) - f(X - step * direction, PLACES)) / (2 * step)
    np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-6)
    np.testing.assert_allclose(gradient, gl.grad(f)(X, PLACES), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("axis", [0, 2, (0, 2)])
def test_medians_along_the_axes_of_one_chunk(axis: Any) -> None:
    x = RNG.normal(size=(5, 103, 4))
    lazy = gl.value_and_grad(lambda x: np.sum(np.median(x, axis=axis) ** 2))(da.from_array(x, chunks=(5, 30, 4)))
    value, gradient = dask.compute(*lazy)
    np.testing.assert_allclose(value, np.sum(np.median(x, axis=axis) ** 2), rtol=1e-12)
    middle = np.median(x, axis=axis, keepdims=True)
    count = x.size // middle.size
    if count % 2:
        np.testing.assert_allclose(gradient, np.where(x == middle, 2.0 * middle, 0.0))
    else:
        np.testing.assert_allclose(np.sum(gradient, axis=axis, keepdims=True), 2.0 * middle, rtol=1e-12)
        assert np.count_nonzero(gradient) == 2 * middle.size


def test_sorted_rows_on_a_cluster() -> None:
    """As in threads, to the bit."""

    def f(x: Any) -> Any:
        return np.sum((np.sort(x, axis=1)[:, 2:5] - np.median(x, axis=1, keepdims=True)) ** 2)

    lazy = gl.value_and_grad(f)(DX)
    wanted = dask.compute(*lazy, scheduler="threads")
    with gl.cluster(n_workers=2) as executor:
        found = dask.compute(*lazy, scheduler=executor._connection.client)  # type: ignore[attr-defined]
    for got, want in zip(found, wanted, strict=True):
        assert_same_bits(np.asarray(got), np.asarray(want))


def test_lengths_in_attrs() -> None:
    """Ramps along the samples are the same for no two blocks: refused."""
    with pytest.raises(SplitError):
        gl.grad(lambda x: np.sum(x[:, 0] * np.arange(len(X))) + 0.0 * np.sum(np.argsort(x, axis=0)))(DX)


def test_unknown_chunks() -> None:
    with pytest.raises(ValueError, match="compute_chunk_sizes"):
        gl.grad(lambda x: np.sum(x))(DX[DX[:, 0] > 0])


def test_split_of_a_graph() -> None:
    """A block graph of any length; sums are partial, rows are joined."""
    graph = gl.make_graph(lambda x, w: (np.sum(x @ w) * 2.0, np.tanh(x @ w)))(np.ones((10, 3)), np.ones(3))
    found = split(graph, {0: 0})
    assert found.cut == (0, None)
    (only,) = found.passes
    assert only.partials == ("add",)
    assert only.joined == (0,)
    assert found.outputs == (("after", 0, 0), ("joined", 0, 0))
    assert [s.shape for s in only.block(4).output_specs()] == [(), (4,)]
    total, row = gl.jit(only.block(4))(np.ones((4, 3)), np.ones(3))
    assert total == 12.0
    assert row.shape == (4,)
    assert gl.jit(found.after)(np.ones(3), total) == (24.0,)


def test_on_workers(workers: Any) -> None:
    """The bits of threads."""
    lazy = gl.value_and_grad(mlp)(LAYERS, DX, DY)
    expected = dask.compute(*lazy, scheduler="threads")
    got = dask.compute(*lazy, scheduler=workers._connection.client)
    assert_same_bits(np.asarray(got[0]), np.asarray(expected[0]))
    for one, other in zip(got[1], expected[1], strict=True):
        assert_same_bits(np.asarray(one), np.asarray(other))


def test_blocks_leave_a_worker_that_holds_all_the_data(workers: Any) -> None:
    """dask moves what will take long enough; how long blocks take it learns apart from what small tasks take."""

    def loss(w: Any, x: Any) -> Any:
        for _ in range(12):
            x = np.tanh(x @ w)
        return np.mean(x**2)

    client = workers._connection.client
    first = min(workers_of(client))
    x = da.random.default_rng(0).normal(size=(8 * 4096, 96), chunks=(4096, -1))
    x = client.persist(x, workers=[first])
    client.gather(client.compute(x.sum()))
    gradient = gl.grad(loss)
    end = time.monotonic() + 60  # it looks now and then, and learns from run to run
    while time.monotonic() < end:
        client.run(_forget)
        dask.compute(gradient(np.eye(96), x), scheduler=client)
        blocks = client.run(_blocks)
        assert sum(blocks.values()) == 8
        if min(blocks.values()) > 1:
            return
    raise AssertionError(blocks)


def _forget(dask_worker: Any) -> None:
    dask_worker.state.log.clear()


def _blocks(dask_worker: Any) -> int:
    """Return how many blocks a worker has computed."""
    computed = [str(event[0]) for event in dask_worker.state.log if event[1:3] == ("executing", "memory")]
    return sum([key.startswith("gradloom-block-") for key in computed])


OUT_OF_CORE = """
    import os, resource, sys, threading, time
    import dask, dask.array as da, numpy as np
    import psutil
    import gradloom as gl

    ROWS, COLUMNS = {rows}, 64

    def logistic(params, x, y):
        z = x @ params[0] + params[1]
        return np.mean(np.logaddexp(0.0, z) - y * z)

    def mlp(params, x, y):
        h = np.tanh(x @ params[0] + params[1])
        return np.mean((h @ params[2] - y) ** 2)

    class Rows:  # dask would copy what is an array
        shape, dtype, ndim = (ROWS, COLUMNS), np.dtype(float), 2

        def __init__(self, path):
            self.path = path
            self.rows = None

        def __reduce__(self):
            return Rows, (self.path,)

        def __getitem__(self, index):
            if self.rows is None:
                self.rows = np.memmap(self.path, float, "r", shape=self.shape)
            return self.rows[index]

    def data(kind):
        if kind == "generated":
            rng = da.random.default_rng(0)
            x = rng.random((ROWS, COLUMNS), chunks=(65_536, -1))
        elif kind == "zarr":
            x = da.from_zarr(sys.argv[3])
        else:
            x = da.from_array(Rows(sys.argv[3]), chunks=(65_536, -1), asarray=False, meta=np.empty((0, 0)))
        return x, (x[:, 0] > 0.5).astype(float)

    def main():
        peaks = {{}}
        stop = threading.Event()

        def watch():
            while not stop.wait(0.02):
                for p in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                    try:
                        peaks[p.pid] = max(peaks.get(p.pid, 0), p.memory_info().rss)
                    except psutil.NoSuchProcess:
                        pass

        kind, scheduler = sys.argv[1:3]
        x, y = data(kind)
        rng = np.random.default_rng(0)
        losses = [
            (logistic, (rng.normal(size=COLUMNS) / 8, 0.1)),
            (mlp, (rng.normal(size=(COLUMNS, 32)) / 8, np.zeros(32), rng.normal(size=32))),
        ]
        lazy = [gl.value_and_grad(f)(params, x, y) for f, params in losses]
        watcher = threading.Thread(target=watch)
        watcher.start()
        start = time.perf_counter()
        if scheduler == "threads":
            found = [dask.compute(*one, scheduler="threads", num_workers=2) for one in lazy]
        else:
            with gl.cluster(n_workers=2, memory_limit="1GiB") as executor:
                client = executor._connection.client
                found = [dask.compute(*one, scheduler=client) for one in lazy]
        seconds = time.perf_counter() - start
        stop.set()
        watcher.join()
        for value, grads in found:
            assert np.isfinite(value) and all(np.isfinite(g).all() for g in grads)
        print("gigabytes", x.nbytes / 1e9, "seconds", round(seconds, 1))
        print("peak", sum(peaks.values()) >> 20, [p >> 20 for p in peaks.values()])

    if __name__ == "__main__":
        main()
"""


def test_blocks_are_planned_once_and_compiled_where_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """By what they compute, so that the next step of a training loop finds the plan; the values are NumPy's."""
    plans: list[Plan] = []
    make = Plan.__init__

    def noted(self: Plan, *args: Any, **options: Any) -> None:
        plans.append(self)
        make(self, *args, **options)

    monkeypatch.setattr(Plan, "__init__", noted)
    monkeypatch.setattr("gradloom.program.COMPILE_ELEMENTS", 100_000)
    x = np.random.default_rng(0).normal(size=(20_000, 3))
    chunked = da.from_array(x, chunks=(10_000, -1))
    loss = lambda w, x: np.sum(np.tanh(np.sin(x * w)) ** 2)  # noqa: E731
    for w in (0.5, 0.7):
        value, slope = dask.compute(*gl.value_and_grad(loss)(w, chunked))
        np.testing.assert_allclose(value, loss(w, x), rtol=1e-12)
        near = (loss(w + 1e-6, x) - loss(w - 1e-6, x)) / 2e-6
        np.testing.assert_allclose(slope, near, rtol=1e-7)
    graphs = [plan.graph.content_hash() for plan in plans]
    assert len(set(graphs)) == len(graphs)
    assert any(plan.compiler is not None for plan in plans)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "scheduler", "rows", "megabytes"),
    [
        ("generated", "threads", 7_900_000, 1500),
        ("generated", "cluster", 7_900_000, 1500),
        ("memmap", "threads", 7_900_000, 1500),
        ("memmap", "cluster", 7_900_000, 1500),
        ("zarr", "threads", 2_370_000, 700),  # takes ten times as long to read
    ],
)
def test_out_of_core(kind: str, scheduler: str, rows: int, megabytes: int, tmp_path: Any) -> None:
    """4 GB of rows in less than 1.5 GB of memory, all processes together; 1.2 GB of Zarr in less than 0.7."""
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(OUT_OF_CORE).format(rows=rows))
    file = tmp_path / "rows"
    block = np.random.default_rng(0).random((79_000, 64))
    if kind == "memmap":
        with open(file, "wb") as out:
            for _ in range(rows // len(block)):
                out.write(block)
    if kind == "zarr":
        import zarr  # takes half a second

        array = zarr.create_array(file, shape=(rows, 64), chunks=block.shape, dtype=float)
        array[: len(block)] = block
        first = file / "c" / "0" / "0"
        for k in range(1, rows // len(block)):  # all chunks are one file, that takes no time to write
            (file / "c" / f"{k}").mkdir()
            (file / "c" / f"{k}" / "0").hardlink_to(first)
    done = subprocess.run(
        [sys.executable, str(path), kind, scheduler, str(file)],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    if kind == "memmap":
        file.unlink()
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    assert int(done.stdout.split("peak ")[1].split()[0]) < megabytes


def test_functions_of_dask_refuse_tensors() -> None:
    """They would hide the tensor in an array of their own, and its gradient with it."""
    chunked = da.ones((6, 3), chunks=(2, -1))
    for f in (lambda w: da.sum(chunked @ w), lambda w: chunked.dot(w).sum(), lambda w: da.stack([w, w]).sum()):
        with pytest.raises(ArgumentError, match=r"^dask\.array.*: a tensor cannot be a part of a dask array") as caught:
            gl.grad(f)(np.ones(3))
        assert "np.sum instead of da.sum" in caught.value.remedy
        assert str(caught.value.location).startswith(__file__)


def test_errors_name_the_line_of_this_call() -> None:
    """Also where the program is that of another function of the same structure."""

    def first(w: Any, x: Any) -> Any:
        return np.sum(np.linalg.inv((x @ w)[:, None, None] * np.zeros((1, 2, 2))))

    def second(w: Any, x: Any) -> Any:
        y = (x @ w)[:, None, None] * np.zeros((1, 2, 2))
        return np.sum(np.linalg.inv(y))

    def third(w: Any, x: Any) -> Any:
        return np.sum(np.sort(x @ w, axis=0))

    def fourth(w: Any, x: Any) -> Any:
        y = x @ w
        return np.sum(np.sort(y, axis=0))

    for f, line in ((first, 1), (second, 2)):
        with pytest.raises(np.linalg.LinAlgError) as failed:
            gl.grad(f)(W[0], DX).compute(scheduler="sync")
        assert f"'inv' recorded at {__file__}:{f.__code__.co_firstlineno + line}" in failed.value.__notes__[0]
    for f, line in ((third, 1), (fourth, 2)):
        with pytest.raises(SplitError) as refused:
            gl.grad(f)(W[0], DX)
        assert refused.value.location == f"{__file__}:{f.__code__.co_firstlineno + line}"
