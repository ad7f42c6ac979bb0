"""Sources to numbered users, restaurants and events."""
