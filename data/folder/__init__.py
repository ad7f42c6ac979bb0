"""The one reader of a data folder: its files, its columns as arrays, and every problem in the same words (ADR 14)."""
