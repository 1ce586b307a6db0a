"""Proof of liabilities: a Merkle tree whose sums say what the house owes, and each client's place in it."""
