"""Params, records, metrics, statistics, the ledger, and the identity of code: what every room stands on."""
