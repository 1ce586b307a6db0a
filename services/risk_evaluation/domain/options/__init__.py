"""Options: prices and Greeks, smiles free of arbitrage, structured products as packages of legs."""
