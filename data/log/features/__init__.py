"""Columns and histories to features."""
