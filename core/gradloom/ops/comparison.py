"""The comparison, logic and bit ops."""
