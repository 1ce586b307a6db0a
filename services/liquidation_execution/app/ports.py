"""What liquidation needs from outside, and the values that cross."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from libs.common.ids import AccountId
from libs.common.validity import ValidityClass
from services.liquidation_execution.domain.episodes import Outcome
from services.liquidation_execution.domain.last_resort import Deleveraging, TakeOver
from services.liquidation_execution.domain.planner import Evaluation, Plan
from services.liquidation_execution.domain.router import VenueOrder
from services.liquidation_execution.domain.slices import Candidate, Margin


@dataclass(frozen=True, slots=True)
class Citation:
    """What a decision was made on."""

    journal_sequence: int
    mark_sequence: int
    control_sequence: int
    mark_run_time_ns: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Risk's answer, what it stands on, and how far the marks of the account's lines can be trusted there."""

    evaluation: Evaluation
    citation: Citation
    validity: ValidityClass


@dataclass(frozen=True, slots=True)
class Step:
    """Take this step of the episode with these orders."""

    step: int
    orders: tuple[VenueOrder, ...]


@dataclass(frozen=True, slots=True)
class ResolveIt:
    """Bring back what is lent, or run the waterfall."""


@dataclass(frozen=True, slots=True)
class CloseIt:
    """Close the episode."""

    outcome: Outcome


What = Step | ResolveIt | CloseIt | TakeOver | Deleveraging


@dataclass(frozen=True, slots=True)
class Decision:
    """One command to the ledger with its reason.

    Args:
        margin: the account as it was decided on.
        step: number of the step it takes, or the next one that it makes unnecessary.
        plan: what was searched; None when nothing had to be searched.
    """

    account: AccountId
    episode: int
    step: int
    what: What
    margin: Margin
    citation: Citation
    plan: Plan | None = None


class RiskPort(Protocol):
    """Questions to risk."""

    async def evaluate(
        self, *, account: AccountId, at_least: int, candidates: Sequence[Candidate], without_orders: bool
    ) -> Answer:
        """Margins now and after each candidate, on a book at or after that journal sequence.

        Args:
            without_orders: leave the account's open orders out, as they are being cancelled.

        Raises:
            RiskBehind: it does not answer now.
            Fault: it refuses the question.
        """


class DecisionPort(Protocol):
    """Commands to the ledger, sent in the order they are submitted."""

    @property
    def backlog(self) -> int:
        """Commands submitted and not yet with the broker."""

    def submit(self, decision: Decision) -> int:
        """Number of the command in this process's session of the account's partition."""


class PlanPort(Protocol):
    """Where plans are written down."""

    def publish(self, decision: Decision) -> None:
        """Queues the reason of a decision."""


class MeterPort(Protocol):
    """What operators watch."""

    def episodes(self, *, open_now: int, waiting: dict[str, int]) -> None:
        """Open episodes, and how many wait for what."""

    def planned(self, *, seconds: float, kind: str) -> None:
        """One plan was searched."""

    def decided(self, *, kind: str) -> None:
        """One command was submitted."""

    def refused(self, *, reason: str) -> None:
        """The ledger refused a command."""

    def filled(self, *, slippage_bp: float) -> None:
        """A fill of an episode, against the mark at that moment; positive is worse."""
