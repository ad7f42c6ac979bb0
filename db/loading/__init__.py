"""Rows into the store."""
