"""Tests of price_ingestion: pure, in milliseconds, on the committed parameters and recorded prices."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
