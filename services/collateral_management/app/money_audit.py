"""The second look at client money: places, consents and the gate, from effects alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from ballast.events.v1 import custody_pb2, journal_pb2
from ballast.types.v1 import custody_pb2 as words
from ballast.types.v1 import ledger_pb2
from libs.common.book import PartitionBook
from libs.common.ids import system_index

EFFECTS = frozenset(("placement", "custody_terms", "gate"))
_LENT_BY = frozenset(("supply", "sweep_lendable", "arrive"))  # what arrives was lent where it came from

Say = Callable[[str, int, str], None]


class MoneyAudit:
    """Watches I20, I21 and, as far as the gate goes, I22 in one partition.

    Args:
        say: told the number of a broken invariant, the sequence and what was seen.
    """

    def __init__(self, say: Say) -> None:
        self._say = say
        self._placed: dict[tuple[int, int, int], int] = {}  # account, asset, venue
        self._gate = custody_pb2.Gate()

    def begin(self, book: PartitionBook) -> None:
        """Begins with a book that holds frames already."""
        self._gate = book.custody.gate
        self._placed = {
            (account, asset, venue): one.units
            for account, places in book.custody.places.items()
            for (asset, venue), one in places.items()
        }

    def places(
        self, sequence: int, command: str, venues: Iterable[journal_pb2.Posting], effects: Iterable[journal_pb2.Effect]
    ) -> None:
        """I20: what venues' accounts move by is what is placed there.

        Args:
            venues: cash postings on venues' accounts. effects: of client money, of the same outcome.
        """
        moved: defaultdict[tuple[int, int], int] = defaultdict(int)  # asset, venue
        for one in venues:
            moved[one.asset, system_index(one.account)] -= one.delta
        for effect in effects:
            if effect.HasField("placement"):
                place = effect.placement
                key = (place.account, place.asset, place.venue)
                moved[place.asset, place.venue] -= place.units - self._placed.get(key, 0)
                self._placed[key] = place.units
        for (asset, venue), units in moved.items():
            if units:
                self._say("I20", sequence, f"{command} moves venue {venue} by {units} of {asset} that nobody has there")

    def lent(
        self, sequence: int, command: str, grown: journal_pb2.Posting, effects: Iterable[journal_pb2.Effect]
    ) -> None:
        """I21: a client's claim on a pool grows by its owner's command or by its consent."""
        if command not in _LENT_BY:
            self._say("I21", sequence, f"{command} lends {grown.delta} shares of account {grown.account}")
        if command != "sweep_lendable":
            return
        agreed = any(
            effect.custody_terms.account == grown.account
            and effect.custody_terms.asset == grown.asset
            and effect.custody_terms.mode == words.CUSTODY_MODE_LENDABLE
            for effect in effects
        )
        if not agreed:
            self._say("I21", sequence, f"{command} lends {grown.delta} shares of account {grown.account} unasked")

    def left(self, sequence: int, now_ns: int, one: journal_pb2.Reservation) -> None:
        """I22: nothing leaves by a closed gate."""
        is_out = one.state == ledger_pb2.RESERVATION_STATE_SETTLED and not one.to_account
        if is_out and (self._gate.closed or now_ns < self._gate.until_ns):
            self._say("I22", sequence, f"reservation {one.reservation} leaves by a closed gate")

    def moved(self, effects: Iterable[journal_pb2.Effect]) -> None:
        """Takes what an outcome made of the gate."""
        for effect in effects:
            if effect.HasField("gate"):
                self._gate = custody_pb2.Gate()
                self._gate.CopyFrom(effect.gate)
