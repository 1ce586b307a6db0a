"""An example venue: an order book exchange that joins Ballast through its wire contract alone."""
