"""From files to batches: tables, clicks, the survey before the first step, shuffle, standardised rows."""
