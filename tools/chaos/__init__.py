"""What a ledger is worth while it is being killed, frozen, doubled and cut off from its broker."""
