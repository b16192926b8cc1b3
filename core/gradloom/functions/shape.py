"""Traced counterparts of NumPy's shape functions, written from ops."""
