"""Drives the rules: one task a partition."""
