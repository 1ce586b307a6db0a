"""Whole-system programs: they may import any domain, and nobody imports them."""
