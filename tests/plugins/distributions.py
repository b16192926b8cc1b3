"""Tiny plugin distributions, as pip would leave them, and a Python that sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import final


@final
class SitePackages:
    """A folder of installed distributions.

    Parameters
    ----------
    folder : Path
        Where they are put; on the path of every `run`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, plugin: str, source: str, module: str | None = None) -> None:
        """Write a distribution of one module with one entry point of the group ``gradloom``.

        Parameters
        ----------
        distribution, plugin : str
            Names of the distribution and of its entry point.
        source : str
            The module's source.
        module : str, optional
            The module's name; that of the distribution by default.
        """
        module = module or distribution.replace("-", "_")
        (self.folder / f"{module}.py").write_text(dedent(source))
        metadata = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[gradloom]\n{plugin} = {module}\n")

    def run(self, code: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run Python code, and return what it printed and its exit status."""
        return self._python(["-c", dedent(code)], environment)

    def doctor(self, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m gradloom doctor``."""
        return self._python(["-m", "gradloom", "doctor"], environment)

    def _python(self, arguments: list[str], extra: dict[str, str]) -> subprocess.CompletedProcess[str]:
        environment = {name: value for name, value in os.environ.items() if name != "GRADLOOM_PLUGINS"}
        path = [str(self.folder), environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(p for p in path if p)
        command = [sys.executable, *arguments]
        return subprocess.run(
            command,
            env={**environment, **extra},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
