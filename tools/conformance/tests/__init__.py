"""Tests of the conformance runner, on cases written for them."""
