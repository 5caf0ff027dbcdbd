"""Params, records, metrics, hashes, and the check that DVC tracks what is read: what every room stands on."""
