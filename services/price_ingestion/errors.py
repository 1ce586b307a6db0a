"""Errors of price_ingestion: ConfigurationError > BadRecording (recorded prices that cannot be)."""

from __future__ import annotations

from libs.common.errors import ConfigurationError


class BadRecording(ConfigurationError):
    """A recorded table is missing, malformed or impossible; names file, row and what was expected."""
