"""Tests of liquidation without a broker."""
