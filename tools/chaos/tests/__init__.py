"""Tests of the chaos run itself."""
