"""Rows out of anything that a company has: files of any kind, addresses, Postgres."""

from data.sources.scan import scan
from data.sources.source import Source

__all__ = ["Source", "scan"]
