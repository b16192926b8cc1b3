"""The indexing ops."""
