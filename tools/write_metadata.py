"""Write the distribution's metadata into a folder, so that entry points are found without installing.

For machines without a build backend: ``python tools/write_metadata.py FOLDER``, then put FOLDER and the source
roots on ``PYTHONPATH``.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def main(folder: str) -> None:
    """Write ``gradloom-VERSION.dist-info`` with name, version and entry points."""
    project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
    name, version = project["name"], project["version"]
    target = Path(folder) / f"{name}-{version}.dist-info"
    target.mkdir(parents=True, exist_ok=True)
    (target / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [f"{plugin} = {module}" for plugin, module in project["entry-points"]["gradloom"].items()]
    (target / "entry_points.txt").write_text("\n".join(["[gradloom]", *lines, ""]))


if __name__ == "__main__":
    main(sys.argv[1])
