"""Which model answers whom, and what it answers."""
