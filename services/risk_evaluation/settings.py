"""Settings of risk_evaluation."""

from __future__ import annotations

from libs.common.service import ServiceSettings


class Settings(ServiceSettings):
    """Read once from the environment."""
