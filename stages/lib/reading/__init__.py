"""Documents and records from JSON files, packages and data sets of the hub."""
