"""The plain model: what clients were told is all it knows, and it adds that up. Shares nothing with the ledger.

No interest is paid here, so a share is a unit, and what accepted commands do to an account does not depend on their
order: the model needs none.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

Outcome = tuple[int, int]  # refusal (0 accepted), subject


@dataclass(slots=True, eq=False)
class Sent:
    """A command as a client sent it, and every answer it got.

    Args:
        principal: who sent it.
        name: as on the wire, such as "withdraw".
        session, n: key on a stream; key: of a unary call. One of both.
        counts: how often it was sent: first, doubled, again after the answer.
    """

    principal: str
    name: str
    session: bytes = b""
    n: int = 0
    key: str = ""
    account: int = 0
    to_account: int = 0
    asset: int = 0
    units: int = 0
    order: int = 0
    lots: int = 0
    sent_at_s: float = 0.0
    answers: list[Outcome] = field(default_factory=list)
    twice: bool = False
    again: bool = False

    @property
    def told(self) -> Outcome | None:
        """The first answer."""
        return self.answers[0] if self.answers else None


class PlainHouse:
    """Accounts, cash, loans and orders as the acknowledged commands leave them."""

    def __init__(self) -> None:
        self.owners: dict[int, str] = {}
        self.cash: defaultdict[tuple[int, int], int] = defaultdict(int)  # (account, asset)
        self.lent: defaultdict[tuple[int, int], int] = defaultdict(int)
        self.orders: dict[int, tuple[int, int]] = {}  # order -> (account, lots)
        self.arrived: defaultdict[int, int] = defaultdict(int)  # by asset, deposits less withdrawals

    def take(self, sent: Sent) -> None:
        """Adds what an accepted command does."""
        told = sent.told
        if told is None or told[0]:
            return
        line = (sent.account, sent.asset)
        match sent.name:
            case "open_account":
                self.owners[told[1]] = sent.principal
            case "confirm_deposit":
                self.cash[line] += sent.units
                self.arrived[sent.asset] += sent.units
            case "withdraw":
                self.cash[line] -= sent.units
                self.arrived[sent.asset] -= sent.units
            case "move_entity":  # empty when it moves: only its account's new id is new
                self.owners[sent.to_account] = sent.principal
            case "transfer" | "move_capital":
                self.cash[line] -= sent.units
                self.cash[sent.to_account, sent.asset] += sent.units
            case "supply":
                self.cash[line] -= sent.units
                self.lent[line] += sent.units
            case "redeem":
                self.cash[line] += sent.units
                self.lent[line] -= sent.units
            case "place_order":
                self.orders[told[1]] = (sent.account, sent.lots)
            case "cancel_order":
                self.orders.pop(sent.order, None)
