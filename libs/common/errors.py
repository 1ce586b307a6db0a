"""Errors that every service knows.

BallastError
├── ConfigurationError   a setting or parameter that cannot be: exit 2 before the service is ready
├── InvariantBroken      a bug: the partition stops loudly
└── Fault                something outside failed; retried with a bound, then the partition stops
    └── LostOwnership    another writer claimed the log, or our own record was not accepted
"""

from __future__ import annotations


class BallastError(Exception):
    """Root of Ballast's errors."""


class ConfigurationError(BallastError):
    """Names key, value and bound."""


class InvariantBroken(BallastError):
    """An invariant of docs/invariants.md does not hold."""

    def __init__(self, number: str, detail: str) -> None:
        super().__init__(f"{number} broken: {detail}")
        self.number = number


class Fault(BallastError):
    """Something outside failed."""


class LostOwnership(Fault):
    """This writer no longer owns its log."""


def invariant(ok: bool, number: str, *detail: object) -> None:
    """Raises InvariantBroken unless ok; stays under `python -O`."""
    if not ok:
        raise InvariantBroken(number, " ".join(str(part) for part in detail))
