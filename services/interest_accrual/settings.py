"""Settings of interest_accrual: those that every service has."""

from __future__ import annotations

from libs.common.service import ServiceSettings


class Settings(ServiceSettings):
    """Read once from the environment."""
