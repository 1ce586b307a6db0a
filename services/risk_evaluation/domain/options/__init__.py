"""Options: prices and Greeks of many lines at once."""
