"""A loaded model of transformers answers conversations, in batches and through the ledger."""
