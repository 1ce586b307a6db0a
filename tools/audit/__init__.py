"""Audit of the ledger from its journal alone: verification, balances at any moment, statements."""
