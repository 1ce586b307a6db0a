"""Stories told end to end on a real broker."""
