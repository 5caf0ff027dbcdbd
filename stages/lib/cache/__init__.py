"""What is kept in .cache and under which keys: the ledger, trainings, the identity of code."""
