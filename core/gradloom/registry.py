"""Registry: named plugins of one kind, built on first use, never silently replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Generic, NamedTuple, TypeVar, final

from gradloom.errors import BackendError, PluginError
from gradloom.locks import new_lock

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """What a plugin registered: its name, its factory, and the distribution that owns it."""

    name: str
    factory: Callable[[], T]
    owner: str


@final
class Registry(Generic[T]):
    """Plugins of one kind (backends, executors, ...) by name.

    Parameters
    ----------
    kind : str
        The word for one of them, used in errors.
    base : type
        The abstract class that each must implement.
    """

    def __init__(self, kind: str, base: type[T]) -> None:
        self.kind = kind
        self._base = base
        self._entries: dict[str, Entry[T]] = {}
        self._built: dict[str, T] = {}
        self._refused: dict[str, str] = {}
        self._lock = new_lock()
        self._load: Callable[[], None] | None = None

    def add(self, name: str, factory: Callable[[], T], owner: str) -> None:
        """Register a factory; a name that is taken is refused, naming both owners."""
        with self._lock:
            taken = self._entries.get(name)
            if taken is not None:
                raise PluginError(
                    f"the {self.kind} name {name!r} is taken",
                    argument="name",
                    expected=f"a name other than that of {taken.owner}",
                    got=f"a second registration by {owner}",
                    remedy=f"uninstall {taken.owner} or {owner}, or list only the wanted plugins in GRADLOOM_PLUGINS",
                )
            self._entries[name] = Entry(name, factory, owner)

    def refuse(self, name: str, reason: str) -> None:
        """Remember why what goes by a name was kept out."""
        with self._lock:
            self._refused[name] = reason

    def discard(self, name: str, reason: str) -> None:
        """Take back what a broken plugin registered under a name, and remember why."""
        with self._lock:
            self._refused[name] = reason
            self._entries.pop(name, None)
            self._built.pop(name, None)

    def load_with(self, load: Callable[[], None]) -> None:
        """Set what discovers plugins; it runs once, before the first look-up."""
        self._load = load

    def ensure_loaded(self) -> None:
        """Run plugin discovery unless it has run."""
        load = self._load
        if load is not None:
            load()

    def get(self, name: str) -> T:
        """Return the plugin of that name, built on first use.

        Raises
        ------
        BackendError
            If the name is unknown or its plugin was kept out; the reason is in the message.
        """
        built = self._built.get(name)
        if built is not None:
            return built
        self.ensure_loaded()
        with self._lock:
            if name in self._built:
                return self._built[name]
            entry = self._entries.get(name)
            if entry is None:
                raise self._unknown(name)
            new = self._build(entry)
            self._built[name] = new
            return new

    def _build(self, entry: Entry[T]) -> T:
        try:
            new: Any = entry.factory()
        except Exception as error:
            raise BackendError(
                f"{self.kind} {entry.name!r} of {entry.owner} failed to initialise: {error}",
                argument=self.kind,
                expected=f"a {self.kind} that can be built",
                got=repr(entry.name),
                remedy="run `python -m gradloom doctor`",
            ) from error
        if not isinstance(new, self._base):
            raise BackendError(
                f"{self.kind} {entry.name!r} of {entry.owner} is not a {self._base.__name__}",
                argument=self.kind,
                expected=f"an instance of {self._base.__module__}.{self._base.__name__}",
                got=type(new).__name__,
                remedy=f"derive it from {self._base.__name__}, in {entry.owner}",
            )
        return new

    def _unknown(self, name: str) -> BackendError:
        reason = self._refused.get(name)
        if reason is not None:
            return BackendError(
                f"{self.kind} {name!r} was kept out: {reason}",
                argument=self.kind,
                expected=f"one of {sorted(self._entries)}",
                got=repr(name),
                remedy="run `python -m gradloom doctor` to see why",
            )
        return BackendError(
            f"unknown {self.kind} {name!r}",
            argument=self.kind,
            expected=f"one of {sorted(self._entries)}",
            got=repr(name),
            remedy="run `python -m gradloom doctor` to see what is installed",
        )

    def entries(self) -> Mapping[str, Entry[T]]:
        """Return a copy of what is registered."""
        self.ensure_loaded()
        with self._lock:
            return dict(self._entries)

    def refused(self) -> Mapping[str, str]:
        """Return the plugins that were kept out, with the reasons."""
        self.ensure_loaded()
        with self._lock:
            return dict(self._refused)

    def __iter__(self) -> Iterator[T]:
        """Yield every plugin that can be built."""
        for name in self.entries():
            try:
                yield self.get(name)
            except BackendError:
                continue
