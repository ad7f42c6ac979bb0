"""Offline data: the synthetic world, the check-in importer, a look into a folder."""
