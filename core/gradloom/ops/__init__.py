"""All ops, one module per family; importing this package registers them."""

from gradloom.ops import arithmetic, reduction, shape, transcendental

__all__ = ["arithmetic", "reduction", "shape", "transcendental"]
