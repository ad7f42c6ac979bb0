"""Rank the restaurants near a person: the ideas, free of I/O frameworks.

>>> from hexbite.features import FeatureSchema
>>> FeatureSchema.from_names(user=["age"], restaurant=["stars"], context=["distance_m"]).width
3
"""

__version__ = "0.1.0"
