"""One adapter a family of cases: what its fields mean to our functions."""
