"""The whole system in one process under virtual time, with every fault drawn from a seed."""
