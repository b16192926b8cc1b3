"""Traced counterparts of NumPy's statistics, written from ops."""
