"""Discovery: finds plugins, loads each behind a guard, and remembers what went wrong.

The scan for entry points and the plugins wait until a backend or an executor is first looked up, or an op that is not
there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple, final

from pluggy import PluginManager

from gradloom import hookspecs
from gradloom.backend import Kernel, Specialised, backend_of_type, backends, foreign_kernels
from gradloom.compiler import compilers
from gradloom.entrypoints import EntryPoint, entry_points
from gradloom.errors import GradloomError, PluginError
from gradloom.executor import executors
from gradloom.locks import new_lock
from gradloom.op import Op, ops
from gradloom.op import load_with as load_ops_with
from gradloom.op import register as register_op
from gradloom.op import unregister as unregister_op

#: The entry-point group, and the project name in pluggy's terms.
GROUP = "gradloom"
#: Environment variable: names of the plugins to load, separated by commas.
LIMIT = "GRADLOOM_PLUGINS"
#: The plugin that is loaded whatever `LIMIT` says: nothing runs without it.
ALWAYS = "numpy"

Status = Literal["ready", "unavailable", "broken"]


class PluginStatus(NamedTuple):
    """What became of one plugin: its name, its distribution, and why it was kept out (or "")."""

    name: str
    owner: str
    status: Status
    reason: str


@final
class PluginLoader:
    """Loads every plugin of the entry-point group once, each behind a guard."""

    def __init__(self) -> None:
        self._manager: PluginManager | None = None
        self._lock = new_lock()
        self._loading = False
        self._loaded = False
        self._status: list[PluginStatus] = []

    def ensure_loaded(self) -> None:
        """Load all plugins, the first time it is called; other threads wait until that is done."""
        if self._loaded:
            return
        with self._lock:
            if self._loading or self._loaded:  # a plugin that looks something up while it loads
                return
            self._loading = True
            try:
                self._load_all()
                self._loaded = True
            finally:
                self._loading = False

    def status(self) -> list[PluginStatus]:
        """Return what became of each plugin."""
        self.ensure_loaded()
        return list(self._status)

    def register(self, plugin: Any, name: str, owner: str) -> None:
        """Register one plugin object; on failure nothing of it stays behind.

        Parameters
        ----------
        plugin : module or object
            Holds functions marked with `gradloom.hookspecs.hookimpl`.
        name : str
            The plugin's name.
        owner : str
            The distribution it comes from, for errors.

        Raises
        ------
        PluginError
            If it has no gradloom hook, or registers a name that is taken.
        pluggy.PluginValidationError
            If a hook is misspelt or has arguments other than the specification's.
        """
        with self._lock:
            manager = self._plugin_manager()
            undo: list[Callable[[str], None]] = []
            try:
                manager.register(plugin, name)
                manager.check_pending()
                self._call_hooks(plugin, owner, undo)
            except BaseException as error:
                if manager.get_plugin(name) is plugin:
                    manager.unregister(name=name)
                _take_back(undo, reason(error))
                raise
            finally:
                backend_of_type.cache_clear()

    # -- loading -----------------------------------------------------------------------------

    def _plugin_manager(self) -> PluginManager:
        if self._manager is None:
            self._manager = PluginManager(GROUP)
            self._manager.add_hookspecs(hookspecs)
        return self._manager

    def _load_all(self) -> None:
        wanted = wanted_plugins()
        owners: dict[str, str] = {}
        for entry in found_plugins():
            owner = entry.owner
            first = owners.setdefault(entry.name, owner)
            if first != owner:
                self._keep_out(entry.name, owner, "broken", _taken(entry.name, first, owner))
            elif wanted is not None and entry.name not in wanted:
                self._keep_out(entry.name, owner, "unavailable", f"not listed in {LIMIT}")
            else:
                self._load(entry)
        for name in sorted((wanted or set()) - owners.keys()):
            self._keep_out(name, "", "unavailable", f"listed in {LIMIT}, but no installed plugin has this name")

    def _load(self, entry: EntryPoint) -> None:
        owner, before = entry.owner, set(ops)
        try:
            self.register(entry.load(), entry.name, owner)
        except (Exception, SystemExit) as error:
            for name in set(ops) - before:
                unregister_op(name)
            self._keep_out(entry.name, owner, "broken", reason(error))
        else:
            self._status.append(PluginStatus(entry.name, owner, "ready", ""))

    def _call_hooks(self, plugin: Any, owner: str, undo: list[Callable[[str], None]]) -> None:
        manager = self._plugin_manager()
        callers = manager.get_hookcallers(plugin) or []
        registers = _registers(owner, undo)
        if not callers:
            raise PluginError(
                "the plugin implements no hook",
                expected=f"a function marked with gradloom.hookspecs.hookimpl, named one of {sorted(registers)}",
                remedy="mark the plugin's functions with @hookimpl",
            )
        others = [p for p in manager.get_plugins() if p is not plugin]
        for caller in callers:
            manager.subset_hook_caller(caller.name, others)(register=registers[caller.name])

    def _keep_out(self, name: str, owner: str, status: Status, reason: str) -> None:
        self._status.append(PluginStatus(name, owner, status, reason))
        for registry in (backends, compilers, executors):
            registry.refuse(name, reason)


def reason(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, GradloomError):
        words = {"expected": error.expected, "got": error.got, "remedy": error.remedy}
        return "; ".join([error.message, *(f"{key}: {value}" for key, value in words.items() if value is not None)])
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _take_back(undo: list[Callable[[str], None]], why: str) -> None:
    """Undo what a broken plugin registered, last things first."""
    for step in reversed(undo):
        step(why)


def _registers(owner: str, undo: list[Callable[[str], None]]) -> dict[str, Callable[..., Any]]:
    """Return what each hook is called with; every registration adds its undoing to ``undo``."""

    def register_backend(name: str, factory: Callable[[], Any]) -> None:
        backends.add(name, factory, owner)
        undo.append(lambda why: backends.discard(name, why))

    def register_compiler(name: str, factory: Callable[[], Any]) -> None:
        compilers.add(name, factory, owner)
        undo.append(lambda why: compilers.discard(name, why))

    def register_executor(name: str, factory: Callable[[], Any]) -> None:
        executors.add(name, factory, owner)
        undo.append(lambda why: executors.discard(name, why))

    def register_one_op(op: Op, *, kernels: Mapping[str, Kernel | Specialised] | None = None) -> Op:
        known = ops.get(op.name) is op
        register_op(op)
        if not known:
            undo.append(lambda why: unregister_op(op.name))
        for backend, kernel in (kernels or {}).items():
            register_kernel(backend, op, kernel)
        return op

    def register_kernel(backend: str, op: Op, kernel: Kernel | Specialised) -> None:
        foreign_kernels.add(backend, op, kernel, owner)
        undo.append(lambda why: foreign_kernels.discard(backend, op))

    return {
        "gradloom_backends": register_backend,
        "gradloom_compilers": register_compiler,
        "gradloom_executors": register_executor,
        "gradloom_ops": register_one_op,
    }


def wanted_plugins() -> set[str] | None:
    """Return the names that ``GRADLOOM_PLUGINS`` limits loading to; None if it is not set.

    The NumPy backend is always among them: constants and values on demand need it.
    """
    text = os.environ.get(LIMIT)
    if text is None:
        return None
    return {name.strip() for name in text.split(",") if name.strip()} | {ALWAYS}


def found_plugins() -> list[EntryPoint]:
    """Return the entry points of the group, in an order that no installation changes; gradloom's own come first."""
    return sorted(entry_points(GROUP), key=lambda entry: (entry.owner != GROUP, entry.name, entry.owner))


def _taken(name: str, first: str, second: str) -> str:
    return (
        f"the plugin name {name!r} is taken by {first}, so that of {second} was not loaded; "
        f"uninstall {first} or {second}"
    )


#: The loader behind every registry.
plugins = PluginLoader()
backends.load_with(plugins.ensure_loaded)
compilers.load_with(plugins.ensure_loaded)
executors.load_with(plugins.ensure_loaded)
load_ops_with(plugins.ensure_loaded)
