"""The services of Ballast; they meet on the wire only."""
