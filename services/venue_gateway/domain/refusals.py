"""What the edge refuses by itself: bad input never reaches the journal."""

from __future__ import annotations

from dataclasses import dataclass

from ballast.types.v1 import ledger_pb2


@dataclass(frozen=True, slots=True)
class Refused:
    """Why, with a sentence a person understands."""

    reason: ledger_pb2.Refusal
    detail: str


SENTENCES: dict[int, str] = {
    ledger_pb2.REFUSAL_INSUFFICIENT_MARGIN: "risk found the account short of margin with the reservation counted",
    ledger_pb2.REFUSAL_MARK_NOT_USABLE: "the price of something the account holds cannot be trusted enough now",
    ledger_pb2.REFUSAL_ACCOUNT_RESTRICTED: "the account is restricted: nothing may leave it and no risk may be added",
    ledger_pb2.REFUSAL_VOIDED_BY_EPISODE: "a liquidation episode was opened on the account",
    ledger_pb2.REFUSAL_CANCELLED_BY_OWNER: "it was cancelled by its owner",
    ledger_pb2.REFUSAL_MARKS_SILENT: "no prices are arriving, so nothing is let out",
}


def sentence(reason: int) -> str:
    """The reason in words, for refusals that carry none."""
    name = ledger_pb2.Refusal.Name(ledger_pb2.Refusal.ValueType(reason))
    return SENTENCES.get(reason, name.removeprefix("REFUSAL_").replace("_", " ").lower())
