"""Traced counterparts of NumPy's indexing, written from ops."""
