"""Entry points: what installed distributions offer under a group, in text files beside their modules.

`importlib.metadata` finds the same, but its import takes longer than a first gradient, and it parses the entry points
of everything that is installed. It is asked where distributions are not plain folders on the path.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.machinery import PathFinder
from typing import Any, NamedTuple, final

_KINDS = (".dist-info", ".egg-info")
_SEPARATORS = re.compile("[-_.]+")


@final
class EntryPoint(NamedTuple):
    """What a distribution, the owner, offers under a name: ``module`` or ``module:attribute``."""

    owner: str
    name: str
    value: str

    def load(self) -> Any:
        """Import the module, and return it or its attribute."""
        module, _, attributes = self.value.partition("[")[0].partition(":")
        found = import_module(module.strip())
        for attribute in filter(None, attributes.strip().split(".")):
            found = getattr(found, attribute)
        return found


def entry_points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group; a distribution hides others of its name that come later on the path."""
    folders: dict[str, str] = {}
    for folder in sys.path:
        try:
            names = [name for name in os.listdir(folder or ".") if name.endswith(_KINDS)]
        except NotADirectoryError:  # an archive
            return _asked_for(group)
        except OSError:
            continue
        for name in names:
            folders.setdefault(_normalised(name), f"{folder or '.'}/{name}")
    if any([finder is not PathFinder and hasattr(finder, "find_distributions") for finder in sys.meta_path]):
        return _asked_for(group)
    if any([folder.endswith(".egg") for folder in sys.path]):
        return _asked_for(group)
    return [point for folder in folders.values() for point in _points(folder, group)]


def _asked_for(group: str) -> list[EntryPoint]:
    """Return what `importlib.metadata` finds."""
    from importlib.metadata import distributions

    found: dict[str, list[EntryPoint]] = {}
    for each in distributions():
        name = each.name or "unknown distribution"
        points = [EntryPoint(name, point.name, point.value) for point in each.entry_points.select(group=group)]
        found.setdefault(_normalised(f"{name}-"), points)
    return [point for points in found.values() for point in points]


def _normalised(folder: str) -> str:
    """Return the name of a distribution, given its folder's; it is the same however it is spelt."""
    return _SEPARATORS.sub("_", folder.rpartition(".")[0].partition("-")[0] or folder).lower()


def _points(folder: str, group: str) -> Iterator[EntryPoint]:
    """Yield the entry points of a group in the folder of a distribution."""
    text = _read(f"{folder}/entry_points.txt")
    if f"[{group}]" not in text:
        return
    owner = _owner(folder)
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            section = line.strip("[] ")
        elif section == group and "=" in line and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            yield EntryPoint(owner, name.strip(), value.strip())


def _owner(folder: str) -> str:
    """Return the name of a distribution as its metadata spell it."""
    for file in ("METADATA", "PKG-INFO"):
        for line in _read(f"{folder}/{file}").splitlines():
            if line.startswith("Name:"):
                return line[5:].strip()
    return "unknown distribution"


def _read(path: str) -> str:
    """Return the text of a file, "" if there is none: as for most distributions, which `open` takes long to find."""
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except OSError:
        return ""
    content = b""
    try:
        while piece := os.read(descriptor, 1 << 16):
            content += piece
        return content.decode()
    except (OSError, UnicodeDecodeError):
        return ""
    finally:
        os.close(descriptor)
