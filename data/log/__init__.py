"""An event log and its tables become a data folder, by a map that says which column means what."""
