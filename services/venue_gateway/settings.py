"""Settings of the gateway: those of every service."""

from __future__ import annotations

from libs.common.service import ServiceSettings


class GatewaySettings(ServiceSettings):
    """BALLAST_GRPC_PORT is the public edge."""
