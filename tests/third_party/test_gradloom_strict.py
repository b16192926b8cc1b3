"""A third party's distribution, installed by pip, passes the conformance suite.

It wraps array-api-strict arrays on a device that NumPy cannot read, so whatever passes here
leaks no NumPy: no rule, no plan and no transform converts an array behind the user's back.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

DISTRIBUTION = Path(__file__).parent / "gradloom-strict"
#: What a plugin may import of gradloom.
DOORS = {"gradloom.backend", "gradloom.hookspecs", "gradloom.spec", "gradloom.testing"}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the distribution into a folder of its own; return an environment that sees it."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(folder), str(DISTRIBUTION)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=300)
    path = [str(folder), os.environ.get("PYTHONPATH", "")]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GRADLOOM_"))}
    return {**kept, "PYTHONPATH": os.pathsep.join(p for p in path if p)}


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the distribution installed."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=environment,
        cwd=DISTRIBUTION,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_doctor_finds_it(environment: dict[str, str]) -> None:
    done = run(environment, "-m", "gradloom", "doctor")
    assert done.returncode == 0, done.stdout
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("strict ")]
    assert line.split() == ["strict", "gradloom-strict", "ready"]


def test_conformance(environment: dict[str, str]) -> None:
    """The suite of `gradloom.testing` passes, with the gaps in the distribution's own table."""
    options = ["-q", "-p", "no:cacheprovider", "-c", "pyproject.toml", "--rootdir", "."]
    done = run(environment, "-m", "pytest", *options, "conformance.py")
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert " passed" in done.stdout


def test_gradients_of_numpy_code(environment: dict[str, str]) -> None:
    """User code written with NumPy runs on strict arrays, through nested transforms."""
    done = run(
        environment,
        "-c",
        """
import array_api_strict as xp, numpy as np, gradloom as gl
from gradloom.backend import backends
strict = backends.get("strict")
w, x = strict.from_host(np.array([0.5, -1.0, 2.0])), strict.from_host(np.arange(6.0).reshape(2, 3))

def loss(w, x):
    return np.mean(np.logaddexp(0.0, x @ w)) + np.max(w) * np.sum(w[1:] ** 2)

value, gradient = gl.value_and_grad(loss)(w, x)
same = gl.value_and_grad(loss)(strict.to_host(w), strict.to_host(x))
assert type(gradient) is type(w), type(gradient)
np.testing.assert_allclose(strict.to_host(gradient), same[1], rtol=1e-14)
second = gl.jit(gl.hvp(lambda w: np.sum(np.tanh(np.matmul(x, w)) ** 2)))(w, w)
assert type(second) is type(w), type(second)
print("done")
""",
    )
    assert done.stdout == "done\n", done.stderr


def test_it_uses_the_public_doors_only() -> None:
    """A plugin needs nothing else, and no line changed in core."""
    modules = set()
    for path in sorted(DISTRIBUTION.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom):
                modules.add(node.module or "")
            elif isinstance(node, ast.Import):
                modules |= {alias.name for alias in node.names}
    used = {name for name in modules if name == "gradloom" or name.startswith("gradloom.")}
    assert used
    assert all(any(name == door or name.startswith(f"{door}.") for door in DOORS) for name in used), used
