"""Container images: built, measured and started for a test."""
