"""Options priced one by one, and smiles free of arbitrage: what risk and the source of marks share."""
