"""Tests of the backtest: its statistics by published figures, its walk on prices written for it."""
