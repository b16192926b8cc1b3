"""``python -m gradloom doctor``: what is installed, what can run here, and why the rest cannot."""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from gradloom.doctor import Row, Table, backends, broken, compilers, schedulers


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status: 0, or 1 where a plugin is broken."""
    parser = argparse.ArgumentParser(prog="python -m gradloom", description="gradloom's command line")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser(
        "doctor",
        help="show backends, compilers and schedulers, and why some cannot run",
        description="Show what is installed, and why some of it cannot run. Exit status 1 if a plugin is broken.",
    )
    parser.parse_args(arguments)
    return doctor()


def doctor() -> int:
    """Print versions and tables; return 1 if a plugin is broken, else 0."""
    tables = {"backends": backends(), "compilers": compilers(), "schedulers": schedulers()}
    names = ("gradloom", "numpy", "pluggy", "llvmlite")
    print(", ".join([*(f"{name} {_version(name)}" for name in names), f"Python {platform.python_version()}"]))
    for title, table in tables.items():
        print()
        _print(title, table)
    return int(any(broken(table) for table in tables.values()))


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "(not installed)"


def _print(title: str, table: Table) -> None:
    """Print a table: with rich on a terminal where it is installed, else as plain text."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table as RichTable
            from rich.text import Text
        except ImportError:
            pass
        else:
            pretty = RichTable(*Row._fields, title=title)
            colours = {"ready": "green", "unavailable": "yellow", "broken": "red"}
            for row in table:
                pretty.add_row(row.name, row.owner, Text(row.status, colours[row.status]), Text(row.reason))
            Console().print(pretty)
            return
    print(title)
    print(table)


if __name__ == "__main__":
    sys.exit(main())
