"""Errors of the gateway.

BallastError
└── SessionEnded   a venue's session cannot go on: the stream ends with a status and the reason
"""

from __future__ import annotations

from enum import Enum

from libs.common.errors import BallastError


class EndReason(Enum):
    """Why a venue's session ended."""

    NOT_READY = "not ready"  # the gateway has not caught up
    MALFORMED = "malformed"  # what the venue said cannot be taken
    MISMATCH = "mismatch"  # venue and house do not agree on instruments or history
    SUPERSEDED = "superseded"  # a newer session is in force
    SILENT = "silent"  # nothing was heard, or the venue does not read


class SessionEnded(BallastError):
    """Ends a venue's session."""

    def __init__(self, reason: EndReason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
