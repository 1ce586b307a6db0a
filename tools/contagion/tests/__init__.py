"""Tests of the contagion job on a run made in memory."""
