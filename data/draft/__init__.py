"""A map drafted from a company's files: guesses with their reasons, for a person to correct."""
