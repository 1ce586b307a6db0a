"""The `ballast` command: what an operator asks of a running house."""
