"""The sorting ops."""
