"""Counters of what people did: declared as data, computed alike for rows of the past and answers of this second."""
