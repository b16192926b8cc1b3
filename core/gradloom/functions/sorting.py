"""Traced counterparts of NumPy's sorting and searching, written from ops."""
