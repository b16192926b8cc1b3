"""Doctor: what is installed, what can run here, and why the rest cannot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from gradloom.backend import backends as registered_backends
from gradloom.compiler import compilers as registered_compilers
from gradloom.discovery import Status, plugins, reason
from gradloom.executor import executors as registered_executors
from gradloom.registry import Registry


class Row(NamedTuple):
    """The state of one backend, compiler, scheduler or plugin.

    ``status`` is ``"ready"``, ``"unavailable"`` (it works, but not here) or ``"broken"``;
    ``reason`` says why it is not ready and what to do, and is empty where it is.
    """

    name: str
    owner: str
    status: Status
    reason: str


class Table(tuple[Row, ...]):
    """Rows that print as a table."""

    __slots__ = ()

    def __str__(self) -> str:
        lines = [Row._fields, *self]
        name, owner, status = [max(len(line[k]) for line in lines) for k in range(3)]
        padded = [f"{line[0]:{name}}  {line[1]:{owner}}  {line[2]:{status}}  {line[3]}" for line in lines]
        return "\n".join(line.rstrip() for line in padded)

    __repr__ = __str__


def backends() -> Table:
    """Return every backend, whether it can run here, and if not, why.

    Returns
    -------
    Table
        A tuple of rows ``(name, owner, status, reason)`` that prints as a table. ``status`` is
        ``"ready"``, ``"unavailable"`` or ``"broken"``. Plugins that were kept out stand in it
        under the plugin's name.

    Notes
    -----
    Asking builds every backend, which imports the array libraries that are installed. A broken
    plugin never raises here; `gradloom.backend` raises with its reason when it is asked for.

    Examples
    --------
    >>> import gradloom as gl
    >>> [row.status for row in gl.backends() if row.name == "numpy"]
    ['ready']
    """
    return Table([*_registered(registered_backends), *kept_out()])


def compilers() -> Table:
    """Return every compiler, as `backends` does."""
    return Table(_registered(registered_compilers))


def schedulers() -> Table:
    """Return every executor that `gradloom.scheduler` takes by name, as `backends` does."""
    return Table(_registered(registered_executors))


def kept_out() -> Table:
    """Return the plugins that were not loaded, with the reasons."""
    return Table([Row(*status) for status in plugins.status() if status.status != "ready"])


def _registered(registry: Registry[Any]) -> Iterator[Row]:
    for name, entry in sorted(registry.entries().items()):
        try:
            problem = registry.get(name).unavailable()
        except Exception as error:
            yield Row(name, entry.owner, "broken", reason(error))
        else:
            yield Row(name, entry.owner, "unavailable" if problem else "ready", problem or "")


def broken(rows: Iterable[Row]) -> bool:
    """Return whether any row is broken."""
    return any(row.status == "broken" for row in rows)
