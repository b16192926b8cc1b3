"""Traced counterparts of NumPy's elementwise functions, written from ops."""
