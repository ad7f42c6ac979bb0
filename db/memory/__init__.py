"""What people did, into the states that counters are read from, and out of the store again."""
