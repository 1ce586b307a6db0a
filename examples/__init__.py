"""Programs of others: they know Ballast by its wire contract only."""
