"""Errors of the ledger.

Fault
└── InputLost   commands that the journal still needs are gone, or another topic stands in their place
"""

from __future__ import annotations

from libs.common.errors import Fault


class InputLost(Fault):
    """The commands topic does not hold what comes after the journal's input position."""
