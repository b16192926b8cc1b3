"""Traced counterparts of NumPy's linear algebra, written from ops."""
