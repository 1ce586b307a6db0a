"""Settings of liquidation_execution."""

from __future__ import annotations

from libs.common.service import ServiceSettings, Target


class Settings(ServiceSettings):
    """Environment of the service.

    Args:
        risk_target: host:port of RiskService.
    """

    risk_target: Target
