"""Fast tests of the demo."""
