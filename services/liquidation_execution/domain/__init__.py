"""Pure rules of liquidation: what next, how much, where."""
