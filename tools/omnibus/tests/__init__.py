"""Tests of the job on a run made in memory."""
