"""A data folder's test time once more, through a service: ask from where each visitor stood, then tell the visit."""
