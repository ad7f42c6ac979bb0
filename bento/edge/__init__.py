"""What happens before ranking: routes, keys, limits, one form for every refusal."""
