"""Tests of the proof of liabilities."""
