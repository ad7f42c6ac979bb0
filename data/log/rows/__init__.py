"""Events to rows: lists, what was chosen of them, and from where."""
