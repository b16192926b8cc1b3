"""Discovery: finds plugins, loads each behind a guard, and remembers what went wrong."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, final

import pluggy

from gradloom import hookspecs
from gradloom.backend import backends
from gradloom.errors import PluginError
from gradloom.executor import executors
from gradloom.op import register as register_op

GROUP = "gradloom"


@dataclass(frozen=True)
class PluginStatus:
    """What became of one plugin: its name, its distribution, and why it was kept out (or "")."""

    name: str
    owner: str
    problem: str


@final
class PluginLoader:
    """Loads every plugin of the entry-point group once, each behind a guard."""

    def __init__(self) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self._lock = threading.RLock()
        self._loaded = False
        self._status: list[PluginStatus] = []

    def ensure_loaded(self) -> None:
        """Load all plugins, the first time it is called."""
        if self._loaded:
            return
        with self._lock:
            if not self._loaded:
                self._loaded = True
                self._load_all(entry_points(group=GROUP))

    def status(self) -> list[PluginStatus]:
        """Return what became of each plugin."""
        self.ensure_loaded()
        return list(self._status)

    def _load_all(self, found: Iterable[EntryPoint]) -> None:
        wanted = os.environ.get("GRADLOOM_PLUGINS")
        names = None if wanted is None else {name.strip() for name in wanted.split(",") if name.strip()}
        owners: dict[str, str] = {}
        for entry in sorted(found, key=lambda e: (e.name, _owner(e))):
            owner = _owner(entry)
            if names is not None and entry.name not in names:
                self._keep_out(entry.name, owner, "not listed in GRADLOOM_PLUGINS")
            elif entry.name in owners and owners[entry.name] != owner:
                self._keep_out(entry.name, owner, f"the plugin name {entry.name!r} is taken by {owners[entry.name]}")
            elif entry.name not in owners:
                owners[entry.name] = owner
                self._load(entry, owner)

    def _load(self, entry: EntryPoint, owner: str) -> None:
        try:
            plugin = entry.load()
            self.register(plugin, entry.name, owner)
        except Exception as error:
            self._keep_out(entry.name, owner, f"{type(error).__name__}: {error}")
        else:
            self._status.append(PluginStatus(entry.name, owner, ""))

    def register(self, plugin: Any, name: str, owner: str) -> None:
        """Register one plugin object; on failure nothing of it stays behind.

        Raises
        ------
        PluginError
            If it has no gradloom hook, a hook with wrong arguments, or a taken name.
        """
        try:
            self._manager.register(plugin, name)
            self._manager.check_pending()
            self._call_hooks(plugin, owner)
        except Exception:
            if self._manager.has_plugin(name):
                self._manager.unregister(name=name)
            backends.discard_owner(owner)
            executors.discard_owner(owner)
            raise

    def _call_hooks(self, plugin: Any, owner: str) -> None:
        callers = self._manager.get_hookcallers(plugin) or []
        if not callers:
            raise PluginError(
                "the plugin implements no hook",
                expected=f"a function marked with hookimpl, named one of {[n for n in dir(hookspecs) if n.startswith('gradloom_')]}",
            )
        registers = {
            "gradloom_backends": lambda name, factory: backends.add(name, factory, owner),
            "gradloom_executors": lambda name, factory: executors.add(name, factory, owner),
            "gradloom_ops": register_op,
        }
        others = [p for p in self._manager.get_plugins() if p is not plugin]
        for caller in callers:
            self._manager.subset_hook_caller(caller.name, others)(register=registers[caller.name])

    def _keep_out(self, name: str, owner: str, problem: str) -> None:
        self._status.append(PluginStatus(name, owner, problem))
        for registry in (backends, executors):
            registry.refuse(name, problem)


def _owner(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else "unknown distribution"


#: The loader behind every registry.
plugins = PluginLoader()
backends.load_with(plugins.ensure_loaded)
executors.load_with(plugins.ensure_loaded)
