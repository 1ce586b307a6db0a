"""Fast tests of the gateway."""
