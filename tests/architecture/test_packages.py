"""What is built and what it contains: folders, metadata, wheel and sdist."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def packages() -> set[str]:
    """Return the package folders of the three source roots."""
    roots = [ROOT / name for name in ("core", "plugins", "scheduler")]
    return {path.parent.relative_to(ROOT).as_posix() for root in roots for path in root.glob("*/__init__.py")}


def test_every_package_folder_is_built() -> None:
    """In editable mode a forgotten folder still imports; the wheel would lack it."""
    assert packages() == set(PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])


def test_every_package_is_type_checked_and_linted() -> None:
    names = {Path(folder).name for folder in packages()}
    assert names == set(PYPROJECT["tool"]["mypy"]["packages"])
    assert names == set(PYPROJECT["tool"]["importlinter"]["root_packages"])


def test_every_package_is_typed() -> None:
    assert [folder for folder in sorted(packages()) if not (ROOT / folder / "py.typed").exists()] == []


def test_every_plugin_has_an_entry_point() -> None:
    plugins = {Path(folder).name for folder in packages() if not folder.startswith("core/")}
    assert plugins == set(PYPROJECT["project"]["entry-points"]["gradloom"].values())
    for module in sorted(plugins):
        assert import_module(module).__all__


def test_the_version_stands_once() -> None:
    """The version of the package is that of the distribution."""
    import gradloom

    assert gradloom.__version__ == PYPROJECT["project"]["version"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build wheel and sdist with hatchling, without network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_wheel(built: Path) -> None:
    """The wheel holds the packages with their type marks, licence and entry points, and nothing else."""
    (wheel,) = built.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    metadata = {root for root in roots if root.endswith(".dist-info")}
    assert roots - metadata == {Path(folder).name for folder in packages()}
    assert len(metadata) == 1
    (info,) = metadata
    assert {f"{info}/entry_points.txt", f"{info}/licenses/LICENSE"} <= set(names)
    sources = {
        path.relative_to(ROOT / folder.split("/")[0]).as_posix()
        for folder in packages()
        for path in (ROOT / folder).rglob("*.py")
    }
    assert sources <= set(names)
    assert {name for name in names if not name.startswith(info)} - sources == {
        f"{Path(folder).name}/py.typed" for folder in packages()
    }


def test_sdist(built: Path) -> None:
    """The sdist holds what is needed to build, test and read, and no left-over of a tool."""
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = ["/".join(name.split("/")[1:]) for name in archive.getnames()]
    tops = {name.split("/")[0] for name in names}
    needed = {"core", "plugins", "tests", "asv_bench", "docs", "examples", "pyproject.toml", "README.md", "LICENSE"}
    assert needed <= tops
    allowed = {"scheduler", "tools", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "PKG-INFO", ".gitignore"}
    assert tops <= allowed | needed
    assert [name for name in names if "__pycache__" in name or name.endswith((".pyc", ".log"))] == []
