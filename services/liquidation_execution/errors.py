"""Errors of liquidation_execution.

Fault
└── RiskBehind   risk does not answer, or its book is not yet where the question needs it; asked again with a bound
"""

from __future__ import annotations

from libs.common.errors import Fault


class RiskBehind(Fault):
    """Risk cannot answer now."""
