"""Conformance: our models against the reference systems' own test cases."""
