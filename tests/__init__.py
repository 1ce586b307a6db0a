"""Tests that belong to no single service."""
