"""The feature store: every line of SQL, and whoever speaks it."""
