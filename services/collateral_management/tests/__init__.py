"""Fast tests of the ledger."""
