"""Pure rules of the ledger: commands in, outcomes and effects out."""
