"""What imports what: seen in a fresh interpreter, and in the source."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("gradloom", "gradloom_numpy", "gradloom_cupy", "gradloom_dask")


def modules_after(code: str) -> set[str]:
    """Return the top-level modules outside the standard library that some code loads."""
    report = "import sys; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return {name for name in done.stdout.split() if name not in sys.stdlib_module_names and not name.startswith("_")}


BARE = modules_after("")


def test_import_loads_numpy_and_pluggy() -> None:
    """The plugins wait for the first look-up."""
    assert modules_after("import gradloom") - BARE == {"gradloom", "numpy", "pluggy"}


@pytest.mark.parametrize("code", ["", "import numpy as np; np.__dict__.pop('fix', None); "])
def test_import_warns_of_nothing(code: str) -> None:
    """With this NumPy, and with one that no longer has what NumPy 2.5 deprecates."""
    command = [sys.executable, "-W", "error", "-c", f"{code}import gradloom as gl; assert gl.grad(abs)(-2.0) == -1.0"]
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=120, check=True)


def test_a_gradient_loads_the_plugins_light_parts() -> None:
    """No other array library is loaded, whichever is installed."""
    loaded = modules_after("import gradloom as gl, numpy as np; gl.grad(np.sin)(0.0)") - BARE
    assert loaded == {
        "gradloom",
        "numpy",
        "pluggy",
        "gradloom_numpy",
        "gradloom_llvm",
        "gradloom_cupy",
        "gradloom_dask",
    }


def test_what_explains_and_draws_is_loaded_when_somebody_asks() -> None:
    """Together they are a tenth of the time of an import."""
    code = "import sys, gradloom; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    late = {"explaining", "explanation", "simulate", "site", "timeline", "picture", "layout", "svg"}
    assert {f"gradloom.{name}" for name in late} & set(done.stdout.split()) == set()


@pytest.mark.parametrize("code", ["import gradloom", "import gradloom as gl; gl.jit(gl.grad(np.sin))(0.0)"])
def test_the_standard_modules_that_cost_most_are_not_loaded(code: str, tmp_path: Path) -> None:
    """By the import, and by a first call that compiles."""
    whole = f"import sys, numpy as np; before = set(sys.modules); {code}; print(*(set(sys.modules) - before))"
    environment = os.environ | {"GRADLOOM_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", whole]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    costly = {"importlib.metadata", "argparse", "asyncio", "multiprocessing", "unittest", "hashlib"}
    costly |= {"concurrent.futures", "logging", "tempfile", "llvmlite.binding"}
    assert costly & set(done.stdout.split()) == set()


def _imports(path: Path) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


SOURCES = [path for root in ("core", "plugins", "scheduler") for path in sorted((ROOT / root).rglob("*.py"))]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_source(path: Path) -> None:
    """Imports are absolute; core imports no plugin; a plugin imports no other plugin, and core by its doors."""
    package = path.relative_to(ROOT).parts[1]
    for name, level in _imports(path):
        top = name.split(".")[0]
        assert level == 0, f"relative import of {name}"
        assert top not in ("core", "plugins", "scheduler")
        if top.startswith("gradloom_"):
            assert top == package, f"{package} imports {name}"
        if package == "gradloom":
            assert top not in ("cupy", "cupyx", "dask", "distributed", "numba", "llvmlite")
