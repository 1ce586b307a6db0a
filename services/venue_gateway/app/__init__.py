"""Drives the rules: client calls, streams and venue sessions against the journal."""
