"""Benchmark of the whole way from a mark to what risk says of it, over a real broker."""
