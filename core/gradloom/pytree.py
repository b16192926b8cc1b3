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
#: The kinds of dicts that are containers.
DICTS = frozenset({dict, OrderedDict})


class Configured(NamedTuple):
    """A dataclass with the values of its static fields."""

    kind: type
    values: tuple[tuple[str, Any], ...]

    def __call__(self, **others: Any) -> Any:
        """Return an instance with these other fields."""
        return self.kind(**dict(self.values), **others)


def flatten(tree: Any) -> tuple[list[Any], Structure]:
    """Split a container into its leaves and its structure.

    Tuples, lists, dicts, dataclass instances and named tuples are containers, ``None`` is
    an empty one; everything else is a leaf. A field that is declared with
    ``dataclasses.field(metadata={"static": True})`` is no leaf: it belongs to the structure.

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
    children: Iterable[Any]
    if kind is tuple or kind is list:
        return kind, None, tuple([_flatten(child, leaves) for child in tree])
    if tree is None:
        return None
    if kind in DICTS:
        return kind, tuple(tree), tuple([_flatten(child, leaves) for child in tree.values()])
    if isinstance(tree, tuple) and hasattr(kind, "_fields"):
        return kind, "namedtuple", tuple([_flatten(child, leaves) for child in tree])
    if hasattr(kind, "__dataclass_fields__"):
        # Imported here because `import gradloom` would pay for it, and who has a dataclass has paid.
        from dataclasses import fields

        given = [field for field in fields(kind) if field.init]
        names = tuple([field.name for field in given if not field.metadata.get("static")])
        static = tuple([(field.name, getattr(tree, field.name)) for field in given if field.metadata.get("static")])
        children = [getattr(tree, name) for name in names]
        return _configured(kind, static), names, tuple([_flatten(child, leaves) for child in children])
    leaves.append(tree)
    return LEAF


def _configured(kind: type, static: tuple[tuple[str, Any], ...]) -> Any:
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
    return Configured(kind, static) if static else kind


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
        return kind(*values)
    return kind(**dict(zip(static, values, strict=True)))


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
    return kind(*parts) if keys == "namedtuple" else kind(parts)


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
