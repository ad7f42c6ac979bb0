"""The trainer: dataset, loop, evaluation, publishing to the model store."""
