"""Offline data: the synthetic world, a company's files by a map, a look into a folder."""
