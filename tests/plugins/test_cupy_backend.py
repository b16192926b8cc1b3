"""The CuPy backend without CuPy, without a driver and without a device: it explains itself."""

from __future__ import annotations

import pytest
from distributions import SitePackages

from gradloom.op import ops

#: What `import cupy` finds: nothing, or a CuPy whose runtime says what is wrong.
RUNTIME = "class runtime:\n    def getDeviceCount():\n        {}\nclass cuda:\n    runtime = runtime\n"
MACHINES = {
    "no_cupy": (
        "raise ImportError('No module named cupy')",
        "CuPy cannot be imported (No module named cupy); pip install",
    ),
    "no_driver": (
        RUNTIME.format("raise RuntimeError('cudaErrorInsufficientDriver: CUDA driver version is insufficient')"),
        "there is no NVIDIA driver, or it is too old for this CuPy (cudaErrorInsufficientDriver: "
        "CUDA driver version is insufficient); install or update the driver",
    ),
    "no_device": (
        RUNTIME.format("raise RuntimeError('cudaErrorNoDevice: no CUDA-capable device is detected')"),
        "there is no CUDA device (cudaErrorNoDevice: no CUDA-capable device is detected); check `nvidia-smi`",
    ),
    "zero_devices": (
        RUNTIME.format("return 0"),
        "there is no CUDA device; check `nvidia-smi` and CUDA_VISIBLE_DEVICES",
    ),
    "other": (
        RUNTIME.format("raise RuntimeError('cudaErrorSystemNotReady')"),
        "the CUDA runtime does not start (cudaErrorSystemNotReady); check `nvidia-smi`",
    ),
}


@pytest.mark.parametrize(("cupy", "reason"), MACHINES.values(), ids=MACHINES)
class TestWithoutGpu:
    def test_doctor(self, site: SitePackages, cupy: str, reason: str) -> None:
        """The doctor shows it as unavailable, with remedy; that is no failure."""
        (site.folder / "cupy.py").write_text(cupy)
        done = site.doctor()
        (line,) = [line for line in done.stdout.splitlines() if line.startswith("cupy ")]
        assert line.split(maxsplit=3)[:3] == ["cupy", "gradloom", "unavailable"]
        assert reason in line
        assert done.returncode == 0

    def test_asking_for_it(self, site: SitePackages, cupy: str, reason: str) -> None:
        """`gl.backend("cupy")` raises with the reason."""
        (site.folder / "cupy.py").write_text(cupy)
        done = site.run("import gradloom as gl\nwith gl.backend('cupy'): ...")
        assert f"backend 'cupy' cannot run here: {reason}" in done.stderr


def test_kernels_without_cupy_raise_with_the_remedy(site: SitePackages) -> None:
    (site.folder / "cupy.py").write_text("raise ImportError('No module named cupy')")
    done = site.run("from gradloom.backend import backends; backends.get('cupy').kernels")
    assert "BackendError: backend 'cupy' cannot run here: CuPy cannot be imported" in done.stderr
    assert "pip install 'gradloom[cuda13]'" in done.stderr


def test_recognising_does_not_import_cupy(site: SitePackages) -> None:
    """Looking at kinds of inputs never pays for CuPy."""
    (site.folder / "cupy.py").write_text("print('imported')")
    done = site.run("import numpy as np, gradloom as gl; gl.grad(lambda p: np.sin(p['a']))({'a': np.float64(1.0)})")
    assert done.stdout == ""


def test_every_numpy_kernel_has_a_cupy_kernel() -> None:
    """The two tables name the same ops, the ops that exist."""
    import numpy_as_cupy

    from gradloom_numpy.kernels import KERNELS

    with numpy_as_cupy.installed():
        from gradloom_cupy.kernels import KERNELS as CUPY_KERNELS

        assert set(CUPY_KERNELS) == set(KERNELS)
        assert set(CUPY_KERNELS) <= set(ops)
