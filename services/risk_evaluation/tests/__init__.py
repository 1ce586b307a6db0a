"""Tests of risk_evaluation: pure, in milliseconds."""
