"""The ledger: one consolidated pool of collateral, double entry, one journal."""
