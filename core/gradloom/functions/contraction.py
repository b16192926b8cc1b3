"""Traced counterparts of NumPy's contractions, written from ops."""
