"""The trainer: tables, clicks, loop, evaluation, model store."""
