"""Without the compiler, or with a broken llvmlite, gradloom runs by kernels of single ops."""

from __future__ import annotations

import pytest
from distributions import SitePackages

RUN = """
import numpy as np, gradloom as gl
from gradloom.compiler import compiler_for

assert compiler_for("numpy") is None
f = gl.jit(gl.value_and_grad(lambda x: np.sum(np.sin(x) * 2.0)))
x = np.linspace(0, 1, 5000)
for _ in range(2):
    value, gradient = f(x)
    np.testing.assert_allclose(value, np.sum(np.sin(x)) * 2)
    np.testing.assert_allclose(gradient, np.cos(x) * 2)
for _ in range(20):
    np.testing.assert_array_equal(gl.grad(lambda x: np.sum(x * x))(x), 2 * x)
"""


def test_plugin_not_listed(site: SitePackages) -> None:
    """`GRADLOOM_PLUGINS` without llvm: no compiler, and llvmlite is not imported."""
    result = site.run(RUN + "import sys\nassert 'llvmlite' not in sys.modules", GRADLOOM_PLUGINS="numpy")
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise ModuleNotFoundError('No module named llvmlite', name='llvmlite')", "No module named llvmlite"),
        ("raise OSError('libLLVM.so: cannot open shared object file')", "libLLVM.so: cannot open"),
        ("__version__ = '0.99.0'", "llvmlite 0.99.0 is newer than"),
        ("__version__ = '0.50.0'", "the library of llvmlite 0.50.0 cannot be loaded"),
    ],
    ids=["missing", "broken", "newer", "without its library"],
)
def test_llvmlite_cannot_be_imported(site: SitePackages, source: str, reason: str) -> None:
    """The compiler is unavailable, and the doctor says why."""
    (site.folder / "llvmlite.py").write_text(source)
    result = site.run(RUN)
    assert (result.returncode, result.stderr) == (0, "")
    row = [line for line in site.doctor().stdout.splitlines() if line.startswith("llvm ")]
    assert len(row) == 1
    assert "unavailable" in row[0]
    assert reason in row[0]


def test_llvmlite_is_not_installed(site: SitePackages) -> None:
    """The compiler is unavailable, and the doctor says what to install."""
    hide = "import sys\nsys.modules['llvmlite'] = None\n"
    result = site.run(hide + RUN)
    assert (result.returncode, result.stderr) == (0, "")
    code = hide + "from gradloom.__main__ import main\nmain(['doctor'])"
    row = [line for line in site.run(code).stdout.splitlines() if line.startswith("llvm ")]
    assert len(row) == 1
    assert "unavailable" in row[0]
    assert "pip install 'gradloom[cpu]'" in row[0]
