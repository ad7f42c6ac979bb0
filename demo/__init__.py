"""The whole line in one command; it drives every package and belongs to none."""
