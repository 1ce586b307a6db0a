"""Benchmark of the ledger's checkpoints: their cost, a restart from them, a take-over."""
