"""Columnar book, scenario grid and the margin kernel: pure arrays in, arrays out."""
