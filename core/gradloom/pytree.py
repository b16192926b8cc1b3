"""Containers of arrays: flatten to leaves, rebuild in the same shape."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from gradloom.errors import ArgumentError

#: A container's shape: hashable, and enough to rebuild the container from its leaves.
#: ``LEAF``, or (kind, static part, children).
Structure = Any
LEAF = "*"
_LEAF_ALONE = frozenset({LEAF})
_LEAVES = frozenset({np.ndarray, np.float64, float})
#: What is no leaf in fields that are no parameters.
_SETTINGS = frozenset({int, bool, str, type(None)})
#: The kinds of dicts that are containers.
DICTS = frozenset({dict, OrderedDict})
#: The kinds of containers that have no methods of the user's.
PLAIN_CONTAINERS = frozenset({tuple, list, dict})


class Configured(NamedTuple):
    """A dataclass with the values of its static fields."""

    kind: type
    values: tuple[tuple[str, Any], ...]
    #: What tells the values apart.
    told: tuple[Any, ...]

    def __call__(self, others: dict[str, Any]) -> Any:
        """Return an instance with these other fields; what ``__post_init__`` derives from them is derived anew."""
        # Imported here because `import gradloom` would pay for it, and who has a dataclass has paid.
        from dataclasses import fields

        values = {**dict(self.values), **others}
        takes = {field.name: field.init for field in fields(self.kind)}
        made = self.kind(**{name: value for name, value in values.items() if takes[name]})
        for name, value in values.items():
            if getattr(made, name, None) is not value:
                if takes[name] and takes.keys() > values.keys():
                    raise self._changed(name)
                object.__setattr__(made, name, value)
        return made

    def _changed(self, name: str) -> ArgumentError:
        """Return the error for a field that would be changed twice before others are derived from it."""
        return ArgumentError(
            "an instance cannot be made again, since __post_init__ changes a field and derives others",
            op=self.kind.__name__,
            argument=name,
            expected="a __post_init__ that leaves the fields that it is given as they are",
            got=f"another {name}",
            remedy="change it before the instance is made, or derive the others in properties",
        )


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Split a container into its leaves and its structure.

    Tuples, lists, dicts, dataclass instances and named tuples are containers, ``None`` is
    an empty one; everything else is a leaf. A field that is declared with
    ``dataclasses.field(metadata={"static": True})`` is no leaf: it belongs to the structure.
    What ``__post_init__`` sets in fields with ``init=False`` is derived anew from the other fields.

    Parameters
    ----------
    tree : object
        A leaf, or a container nested to any depth.

    Returns
    -------
    leaves : list
        The leaves, dict entries in insertion order.
    structure : hashable
        What `unflatten` needs to rebuild the container.

    Raises
    ------
    ArgumentError
        If the value of a static field cannot be hashed.

    Examples
    --------
    >>> from gradloom.pytree import flatten, unflatten
    >>> leaves, structure = flatten({"w": (1, 2), "b": 3})
    >>> leaves
    [1, 2, 3]
    >>> unflatten(structure, [10, 20, 30])
    {'w': (10, 20), 'b': 30}
    """
    if type(tree) in _LEAVES:
        return [tree], LEAF
    if type(tree) is tuple and _LEAVES.issuperset(map(type, tree)):
        return list(tree), (tuple, None, (LEAF,) * len(tree))
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves)


def _flatten(tree: Any, leaves: list[Any]) -> Structure:
    kind = type(tree)
    if kind in _LEAVES:
        leaves.append(tree)
        return LEAF
    if kind is tuple or kind is list:
        return kind, None, tuple([_flatten(child, leaves) for child in tree])
    if tree is None:
        return None
    if kind in DICTS:
        return kind, tuple(tree), tuple([_flatten(child, leaves) for child in tree.values()])
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind, "namedtuple", tuple([_flatten(child, leaves) for child in tree])
    if hasattr(kind, "__dataclass_fields__"):
        from dataclasses import fields

        names, parts, static = [], [], []
        for field in fields(kind):
            if not field.init and hasattr(kind, "__post_init__"):
                continue  # it is derived from the others
            value = getattr(tree, field.name, None)
            if field.metadata.get("static") or (not field.init and type(value) in _SETTINGS):
                static.append((field.name, value))
            else:
                names.append(field.name)
                parts.append(_flatten(value, leaves))
        return _configured(kind, tuple(static)), tuple(names), tuple(parts)
    leaves.append(tree)
    return LEAF


def _configured(kind: type, static: tuple[tuple[str, Any], ...]) -> Configured:
    """Return what makes a dataclass of the values of its other fields."""
    for name, value in static:
        try:
            hash(value)
        except TypeError:
            raise ArgumentError(
                "the value of a static field must be hashable",
                op=kind.__name__,
                argument=name,
                expected="a number, a string, a tuple of such, a function",
                got=type(value).__name__,
                remedy="use a tuple instead of a list, or leave the metadata out if it is to be traced",
            ) from None
    return Configured(kind, static, tuple([told_apart(value) for _, value in static]))


def told_apart(value: Any) -> Any:
    """Return what tells static values apart: what ``==`` does, and 1, 1.0 and True, 0.0 and -0.0 too.

    It holds the value, so that no other object takes its place while the key lives.
    """
    if isinstance(value, (tuple, frozenset)):
        parts = [told_apart(v) for v in value]
        return type(value), frozenset(parts) if isinstance(value, frozenset) else tuple(parts)
    return type(value), repr(value) if isinstance(value, (float, complex, np.inexact)) else value


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """Rebuild the container that `flatten` took apart, with other leaves."""
    if structure is LEAF:
        (leaf,) = leaves
        return leaf
    if structure is not None and structure[0] is tuple and _LEAF_ALONE.issuperset(structure[2]):
        return tuple(leaves)
    return _unflatten(structure, iter(leaves))


def _unflatten(structure: Structure, leaves: Iterator[Any]) -> Any:
    if structure == LEAF:
        return next(leaves)
    if structure is None:
        return None
    kind, static, children = structure
    values = [_unflatten(child, leaves) for child in children]
    if kind is tuple:
        return tuple(values)
    if kind is list:
        return values
    if kind in DICTS:
        return kind(zip(static, values, strict=True))
    if static == "namedtuple":
        return kind._make(values)
    return kind(dict(zip(static, values, strict=True)))


def has_plain_containers(structure: Structure) -> bool:
    """Return whether there are but plain containers, and ``None``."""
    if structure is None or structure == LEAF:
        return True
    return structure[0] in PLAIN_CONTAINERS and all(map(has_plain_containers, structure[2]))


def in_key_order(tree: Any, structure: Structure) -> Any:
    """Return a container with its dicts in the key order of a structure, where they have its keys."""
    if tree is None or structure is None or structure == LEAF or type(tree) is not structure[0]:
        return tree
    kind, keys, children = structure
    if kind in DICTS:
        if tree.keys() != set(keys):
            return tree
        return kind([(key, in_key_order(tree[key], child)) for key, child in zip(keys, children, strict=True)])
    if not isinstance(tree, (tuple, list)) or len(tree) != len(children):
        return tree
    parts = [in_key_order(part, child) for part, child in zip(tree, children, strict=True)]
    return kind._make(parts) if keys == "namedtuple" else kind(parts)


def tree_map(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Apply a function to the leaves of containers of one structure.

    Examples
    --------
    >>> from gradloom.pytree import tree_map
    >>> tree_map(lambda p, g: p - 0.1 * g, (1.0, 2.0), (10.0, 0.0))
    (0.0, 2.0)
    """
    leaves, structure = flatten(tree)
    columns = [leaves]
    for other in others:
        other_leaves, other_structure = flatten(other)
        if other_structure != structure:
            raise ArgumentError(
                "containers differ in structure",
                op="tree_map",
                expected=describe(structure),
                got=describe(other_structure),
            )
        columns.append(other_leaves)
    return unflatten(structure, [function(*row) for row in zip(*columns, strict=True)])


def describe(structure: Structure) -> str:
    """Return a structure as readable text, ``(*, {'w': *})``."""
    if structure == LEAF:
        return "*"
    if structure is None:
        return "None"
    kind, static, children = structure
    inner = [describe(child) for child in children]
    if kind is tuple:
        return f"({', '.join(inner)}{',' if len(inner) == 1 else ''})"
    if kind is list:
        return f"[{', '.join(inner)}]"
    if kind in DICTS:
        return "{" + ", ".join(f"{k!r}: {v}" for k, v in zip(static, inner, strict=True)) + "}"
    name = (kind.kind if isinstance(kind, Configured) else kind).__name__
    return f"{name}({', '.join(inner)})"


def paths(structure: Structure, prefix: str = "") -> list[str]:
    """Return where each leaf sits, as subscripts: ``[0]['w']``."""
    if structure == LEAF:
        return [prefix]
    if structure is None:
        return []
    kind, static, children = structure
    if kind in DICTS:
        names = [f"[{key!r}]" for key in static]
    elif static is None:
        names = [f"[{i}]" for i in range(len(children))]
    else:
        fields = kind._fields if static == "namedtuple" else static
        names = [f".{name}" for name in fields]
    return [path for name, child in zip(names, children, strict=True) for path in paths(child, prefix + name)]
