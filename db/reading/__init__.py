"""Rows out of the store, for a request."""
